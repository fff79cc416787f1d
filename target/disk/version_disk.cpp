#include "target/disk/version_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.hpp"
#include "target/disk/disk_snapshot.hpp"

namespace goldlink::disk {

using store::kChunkBytes;

struct VersionDisk::Pending {
    VersionDisk* disk = nullptr;
    Request* request = nullptr;
    std::uint64_t done_bytes = 0;
    iovec vector{};
    reactor::IoOperation operation;
};

VersionDisk::VersionDisk(std::shared_ptr<const store::Version> version, std::uint32_t block_bytes,
                         reactor::IoRing& ring, store::Storage& storage)
    : version_(std::move(version)), ring_(ring), storage_(storage) {
    geometry_.size_bytes = (version_->size_bytes() + block_bytes - 1) / block_bytes * block_bytes;
    geometry_.logical_block_bytes = block_bytes;
    geometry_.physical_block_bytes = block_bytes;
    geometry_.read_only = true;
    geometry_.thin = false;
    const std::uint64_t chunks = (version_->size_bytes() + kChunkBytes - 1) / kChunkBytes;
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
        const auto location = version_->location(chunk);
        if (!store::is_stored(location)) continue;
        in_memory_ = storage_.memory_backed(version_->pack_fd(location));
        break;
    }
}

void VersionDisk::take_snapshot(SnapshotTaken taken) {
    taken(failure(ErrorKind::invalid, "nobody writes to this disk: it is the version itself"));
}

VersionDisk::~VersionDisk() { CHECK(in_flight_ == 0, "a disk ends after its requests"); }

Submit VersionDisk::submit(Request& request) noexcept {
    request.outcome = Outcome::ok;
    request.lent_count = 0;  // a disc is read once: nothing of it is kept to be lent
    if (closed_) {
        request.outcome = Outcome::gone;
        return Submit::done;
    }
    if (request.operation == Operation::flush) return Submit::done;
    if (request.operation != Operation::read) {  // the unit is write-protected: none comes this far
        request.outcome = Outcome::write_failed;
        return Submit::done;
    }
    if (request.offset_bytes > geometry_.size_bytes ||
        request.length_bytes > geometry_.size_bytes - request.offset_bytes) {
        request.outcome = Outcome::out_of_range;
        return Submit::done;
    }
    std::uint64_t done_bytes = 0;
    Run missed;
    switch (read_cached(request, done_bytes, missed)) {
        case Progress::done:
            return Submit::done;
        case Progress::failed:
            request.outcome = Outcome::medium_error;
            return Submit::done;
        case Progress::missed:
            break;
    }
    if (idle_.empty()) {
        pool_.push_back(std::make_unique<Pending>());
        pool_.back()->disk = this;
        idle_.push_back(pool_.back().get());
    }
    Pending& pending = *idle_.back();
    idle_.pop_back();
    ++in_flight_;
    pending.request = &request;
    pending.done_bytes = done_bytes;
    read_later(pending, missed);
    return Submit::pending;
}

// Chunks that an import stored one after the other lie so in their pack: one call reads them. What
// a slot holds past the version's end is zero.
VersionDisk::Run VersionDisk::run_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const {
    const auto in_chunk = offset_bytes % kChunkBytes;
    auto chunk = offset_bytes / kChunkBytes;
    const auto location = version_->location(chunk);
    Run run;
    run.length_bytes = std::min(max_bytes, kChunkBytes - in_chunk);
    run.bad = store::is_bad(location);
    if (store::is_stored(location)) {
        run.fd = version_->pack_fd(location);
        run.offset_bytes = store::Version::slot_offset_bytes(location) + in_chunk;
    }
    while (run.length_bytes < max_bytes) {
        const auto next = version_->location(++chunk);
        const bool stored = store::is_stored(next);
        if (stored != (run.fd >= 0) || store::is_bad(next) != run.bad) break;
        if (stored &&
            (version_->pack_fd(next) != run.fd ||
             store::Version::slot_offset_bytes(next) != run.offset_bytes + run.length_bytes))
            break;
        run.length_bytes += std::min(max_bytes - run.length_bytes, kChunkBytes);
    }
    return run;
}

VersionDisk::Progress VersionDisk::read_cached(Request& request, std::uint64_t& done_bytes,
                                               Run& missed) noexcept {
    while (done_bytes < request.length_bytes) {
        Run run = run_at(request.offset_bytes + done_bytes, request.length_bytes - done_bytes);
        std::uint8_t* const data = request.data + done_bytes;
        if (run.fd < 0) {
            if (run.bad) return Progress::failed;
            std::memset(data, 0, run.length_bytes);
            done_bytes += run.length_bytes;
            continue;
        }
        const iovec vector{data, run.length_bytes};
        const std::int64_t n =
            storage_.read_cached(run.fd, &vector, 1, run.offset_bytes, in_memory_);
        const bool whole = n == static_cast<std::int64_t>(run.length_bytes);
        ++(whole ? counters_.cache_hits : counters_.cache_misses);
        if (n > 0) done_bytes += static_cast<std::uint64_t>(n);
        if (whole) continue;
        if (n < 0 && n != -EAGAIN) return Progress::failed;
        const auto had = static_cast<std::uint64_t>(std::max<std::int64_t>(n, 0));
        missed = {run.fd, false, run.offset_bytes + had, run.length_bytes - had};
        return Progress::missed;
    }
    return Progress::done;
}

void VersionDisk::read_later(Pending& pending, const Run& run) noexcept {
    pending.vector = {pending.request->data + pending.done_bytes, run.length_bytes};
    pending.operation = {};
    pending.operation.kind = reactor::IoOperation::Kind::read;
    pending.operation.fd = run.fd;
    pending.operation.offset_bytes = run.offset_bytes;
    pending.operation.vectors = &pending.vector;
    pending.operation.vector_count = 1;
    pending.operation.owner = &pending;
    pending.operation.complete = [](reactor::IoOperation& operation) noexcept {
        auto& each = *static_cast<Pending*>(operation.owner);
        each.disk->on_read(each);
    };
    ring_.submit(pending.operation);
}

void VersionDisk::on_read(Pending& pending) noexcept {
    Request& request = *pending.request;
    const std::int64_t n = pending.operation.result;
    const bool again = n == -EINTR || n == -EAGAIN;
    Run missed;
    if (n > 0) pending.done_bytes += static_cast<std::uint64_t>(n);
    auto progress =
        n > 0 || again ? read_cached(request, pending.done_bytes, missed) : Progress::failed;
    if (progress == Progress::missed) {
        read_later(pending, missed);
        return;
    }
    request.outcome = progress == Progress::done ? Outcome::ok : Outcome::medium_error;
    --in_flight_;
    idle_.push_back(&pending);
    request.complete(request);
}

Extent VersionDisk::extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const {
    const Run run = run_at(offset_bytes, max_bytes);
    return {run.length_bytes, run.fd >= 0 || run.bad};
}

std::unique_ptr<LinkDisk> LinkDisk::open_read_only(std::shared_ptr<const store::Version> version,
                                                   std::uint32_t block_bytes,
                                                   reactor::IoRing& ring) {
    return std::make_unique<VersionDisk>(std::move(version), block_bytes, ring,
                                         store::posix_storage());
}

}  // namespace goldlink::disk
