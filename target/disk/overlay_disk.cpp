#include "target/disk/overlay_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.hpp"
#include "target/disk/disk_snapshot.hpp"
#include "target/disk/overlay_disk_pending.hpp"

namespace goldlink::disk {

using store::kChunkBytes;

OverlayDisk::OverlayDisk(std::unique_ptr<Overlay> overlay, LinkDiskOptions options,
                         reactor::IoRing& ring, store::Storage& storage)
    : options_(std::move(options)),
      overlay_(std::move(overlay)),
      ring_(ring),
      storage_(storage),
      edges_(2 * kBlockBytes) {
    geometry_.size_bytes = options_.version->size_bytes();
    geometry_.logical_block_bytes = options_.logical_block_bytes;
    geometry_.max_atomic_bytes = kMaxAtomicBytes;
    const std::uint64_t chunks = (geometry_.size_bytes + kChunkBytes - 1) / kChunkBytes;
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
        const auto location = options_.version->location(chunk);
        if (!store::is_stored(location)) continue;
        base_in_memory_ = storage_.memory_backed(options_.version->pack_fd(location));
        break;
    }
}

Submit OverlayDisk::submit(Request& request) noexcept {
    if (closed_) {
        request.outcome = Outcome::gone;
        return Submit::done;
    }
    if (request.operation == Operation::flush) return start_flush(request);
    if (request.offset_bytes > geometry_.size_bytes ||
        request.length_bytes > geometry_.size_bytes - request.offset_bytes) {
        request.outcome = Outcome::out_of_range;
        return Submit::done;
    }
    if (request.length_bytes == 0) {
        request.outcome = Outcome::ok;
        return Submit::done;
    }
    if ((!active_.empty() || waiting_head_ != nullptr) && must_wait(request)) {
        request.next = nullptr;
        (waiting_tail_ != nullptr ? waiting_tail_->next : waiting_head_) = &request;
        waiting_tail_ = &request;
        return Submit::pending;
    }
    return start(request);
}

Submit OverlayDisk::start(Request& request) noexcept {
    return request.operation == Operation::read ? start_read(request) : start_write(request);
}

Submit OverlayDisk::finish(Request& request, Outcome outcome) noexcept {
    request.outcome = outcome;
    if (outcome == Outcome::write_failed) [[unlikely]]
        note_write_failed();
    if (outcome != Outcome::ok || !request.fua || request.operation == Operation::read ||
        !overlay_->durable())
        return Submit::done;
    return start_flush(request);  // FUA: durable before it is acknowledged
}

// ---- Reading

// How far the base goes on from `offset`, which lies in a block of the base: within one chunk.
std::uint64_t OverlayDisk::base_run(std::uint64_t offset, std::uint64_t length) const noexcept {
    const OverlayMap& map = overlay_->map();
    const auto block = static_cast<std::uint32_t>(offset / kBlockBytes);
    const std::uint64_t limit = std::min(length, kChunkBytes - offset % kChunkBytes);
    if (map.leaf_is_base(block / OverlayMap::kLeafBlocks)) return limit;
    std::uint64_t run = std::min(limit, kBlockBytes - offset % kBlockBytes);
    for (std::uint32_t next = block + 1; run < limit && map.get(next).is_base(); ++next)
        run = std::min(limit, run + kBlockBytes);
    return run;
}

// Answers a read with pointers when all of it is of the base and in locked memory. What the overlay
// holds is not lent: the next write may change it before the reply is sent.
bool OverlayDisk::lend(Request& request) noexcept {
    alignas(kBlockBytes) static constexpr std::uint8_t kZeros[kChunkBytes] = {};
    const OverlayMap& map = overlay_->map();
    std::uint64_t offset = request.offset_bytes, left = request.length_bytes;
    std::size_t count = 0, hits = 0;
    bool whole = true;
    while (left > 0) {
        if (!map.get(static_cast<std::uint32_t>(offset / kBlockBytes)).is_base()) return false;
        const auto run = static_cast<std::uint32_t>(base_run(offset, left));
        const auto location = options_.version->location(offset / kChunkBytes);
        const std::uint8_t* data = kZeros;
        if (store::is_stored(location)) {
            const std::uint8_t* chunk = options_.version->resident(location, run);
            // Without it the rest is gone over all the same, so that its chunks count as read too.
            if (chunk == nullptr) whole = false;
            if (whole) data = chunk + offset % kChunkBytes;
            ++hits;
        } else if (location != store::kZeroChunk) {
            return false;  // bad: the read itself says so
        }
        if (whole) {
            LentRun* last = count > 0 ? &request.lent[count - 1] : nullptr;
            if (last != nullptr && last->data + last->length_bytes == data) {
                last->length_bytes += run;
            } else if (count == Request::kMaxLentRuns) {
                whole = false;
            } else {
                request.lent[count++] = {data, run};
            }
        }
        offset += run;
        left -= run;
    }
    if (!whole) return false;
    request.lent_count = static_cast<std::uint8_t>(count);
    counters_.cache_hits += hits;
    return true;
}

// Goes over a range of the disk: zeros and mapped slots are filled in, what lies in files is handed
// to `on_piece` in runs as long as they come. False: some of it is in bad chunks.
template <typename OnPiece>
bool OverlayDisk::for_each_piece(std::uint64_t offset, std::uint8_t* data, std::uint64_t length,
                                 OnPiece&& on_piece) {
    const OverlayMap& map = overlay_->map();
    bool good = true;
    Piece piece;
    const auto add = [&](int fd, std::uint64_t at, std::uint64_t run, bool memory_backed,
                         bool of_base) {
        if (piece.fd == fd && piece.offset_bytes + piece.length_bytes == at &&
            piece.data + piece.length_bytes == data) {
            piece.length_bytes += run;
            return;
        }
        if (piece.length_bytes > 0) on_piece(piece);
        piece = {fd, at, data, run, memory_backed, of_base};
    };
    while (length > 0) {
        const auto block = static_cast<std::uint32_t>(offset / kBlockBytes);
        const BlockState state = map.get(block);
        std::uint64_t run = std::min(length, kBlockBytes - offset % kBlockBytes);
        if (state.is_base()) {
            const std::uint64_t in_chunk = offset % kChunkBytes;
            run = base_run(offset, length);
            const auto location = options_.version->location(offset / kChunkBytes);
            if (!store::is_stored(location)) {
                good = good && location == store::kZeroChunk;
                std::memset(data, 0, run);
            } else {
                add(options_.version->pack_fd(location),
                    store::Version::slot_offset_bytes(location) + in_chunk, run, base_in_memory_,
                    true);
            }
        } else if (state.is_zero()) {
            std::memset(data, 0, run);
        } else {
            const SlotPlace place = overlay_->slots().place(state.slot());
            const std::uint64_t in_block = offset % kBlockBytes;
            if (place.mapped != nullptr) {
                std::memcpy(data, place.mapped + in_block, run);
                good = good && !overlay_->slots().memory_failed();
            } else {
                add(place.fd, place.offset_bytes + in_block, run, place.memory_backed, false);
            }
        }
        offset += run;
        data += run;
        length -= run;
    }
    if (piece.length_bytes > 0) on_piece(piece);
    return good;
}

// Reads what memory has; on `missed` the piece is what is left.
OverlayDisk::Progress OverlayDisk::read_now(Piece& piece) noexcept {
    const iovec vector{piece.data, piece.length_bytes};
    const std::int64_t n =
        storage_.read_cached(piece.fd, &vector, 1, piece.offset_bytes, piece.memory_backed);
    const bool whole = n == static_cast<std::int64_t>(piece.length_bytes);
    if (piece.of_base) ++(whole ? counters_.cache_hits : counters_.cache_misses);
    if (whole) return Progress::done;
    if (n > 0) {
        piece.data += n;
        piece.offset_bytes += static_cast<std::uint64_t>(n);
        piece.length_bytes -= static_cast<std::uint64_t>(n);
        return Progress::missed;
    }
    return n == -EAGAIN ? Progress::missed : Progress::failed;
}

// Reads a range into `data`; what is not in memory becomes transfers of `pending`.
OverlayDisk::Progress OverlayDisk::read_all(std::uint64_t offset, std::uint8_t* data,
                                            std::uint64_t length, Request& request,
                                            PendingRequest*& pending) noexcept {
    bool failed = false;
    const bool good = for_each_piece(offset, data, length, [&](Piece piece) {
        switch (read_now(piece)) {
            case Progress::done:
                break;
            case Progress::failed:
                failed = true;
                break;
            case Progress::missed:
                if (pending == nullptr) pending = &make_pending(request);
                add_transfer(*pending, piece, false);
                break;
        }
    });
    failed = failed || !good;
    if (pending != nullptr && failed) pending->outcome = Outcome::medium_error;
    if (pending != nullptr && pending->used > 0) return Progress::missed;
    return failed ? Progress::failed : Progress::done;
}

Submit OverlayDisk::start_read(Request& request) noexcept {
    if (read_trace) [[unlikely]]
        read_trace->note(request.offset_bytes, request.length_bytes);
    if (request.may_lend && lend(request)) return finish(request, Outcome::ok);
    PendingRequest* pending = nullptr;
    if (!overlay_->checks().all_good()) [[unlikely]] {
        const BlockRange range = blocks_of(request);
        switch (check_blocks(range.first, range.last, request, pending)) {
            case Progress::done:
                break;
            case Progress::failed:
                return finish(request, Outcome::medium_error);
            case Progress::missed:
                pending->phase = PendingRequest::Phase::check;
                return send(*pending);
        }
    }
    switch (read_all(request.offset_bytes, request.data, request.length_bytes, request, pending)) {
        case Progress::done:
            return finish(request, Outcome::ok);
        case Progress::failed:
            return finish(request, Outcome::medium_error);
        case Progress::missed:
            break;
    }
    pending->phase = PendingRequest::Phase::read;
    return send(*pending);
}

// ---- Order

bool OverlayDisk::must_wait(const Request& request) const noexcept {
    const BlockRange mine = blocks_of(request);
    const bool changes = mutates(request);
    for (const PendingRequest* other : active_)
        if ((changes || other->mutates) && mine.first <= other->last_block &&
            other->first_block <= mine.last)
            return true;
    for (const Request* other = waiting_head_; other != nullptr; other = other->next) {
        const BlockRange theirs = blocks_of(*other);
        if ((changes || mutates(*other)) && mine.first <= theirs.last && theirs.first <= mine.last)
            return true;
    }
    return false;
}

// Starts those that wait for nothing any more, in order; the ones that end at once join `finished`.
void OverlayDisk::run_waiting(Request*& finished) noexcept {
    Request* rest = waiting_head_;
    waiting_head_ = waiting_tail_ = nullptr;
    while (rest != nullptr) {
        Request& request = *rest;
        rest = request.next;
        request.next = nullptr;
        if (must_wait(request)) {
            (waiting_tail_ != nullptr ? waiting_tail_->next : waiting_head_) = &request;
            waiting_tail_ = &request;
        } else if (start(request) == Submit::done) {
            request.next = finished;
            finished = &request;
        }
    }
}

void OverlayDisk::complete_all(Request* finished) noexcept {
    while (finished != nullptr) {
        Request& request = *finished;
        finished = std::exchange(request.next, nullptr);
        request.complete(request);
    }
}

// ---- Requests that storage is waited for

OverlayDisk::PendingRequest& OverlayDisk::make_pending(Request& request) noexcept {
    if (idle_.empty()) {
        pool_.push_back(std::make_unique<PendingRequest>());
        idle_.push_back(pool_.back().get());
    }
    PendingRequest& pending = *idle_.back();
    idle_.pop_back();
    const BlockRange range = blocks_of(request);
    pending.disk = this;
    pending.request = &request;
    pending.first_block = range.first;
    pending.last_block = range.last;
    pending.mutates = mutates(request);
    pending.outcome = Outcome::ok;
    pending.used = pending.running = 0;
    active_.push_back(&pending);
    return pending;
}

void OverlayDisk::add_transfer(PendingRequest& pending, const Piece& piece, bool write) noexcept {
    if (pending.used == pending.transfers.size())
        pending.transfers.push_back(std::make_unique<Transfer>());
    Transfer& transfer = *pending.transfers[pending.used++];
    transfer.pending = &pending;
    transfer.piece = piece;
    transfer.left_bytes = piece.length_bytes;
    transfer.retries = 0;
    transfer.outcome = Outcome::ok;
    transfer.blocks.clear();
    transfer.vectors.assign(1, iovec{piece.data, piece.length_bytes});
    transfer.operation = {};
    transfer.operation.kind =
        write ? reactor::IoOperation::Kind::write : reactor::IoOperation::Kind::read;
    transfer.operation.fd = piece.fd;
    transfer.operation.owner = &transfer;
    transfer.operation.complete = [](reactor::IoOperation& operation) noexcept {
        auto& done = *static_cast<Transfer*>(operation.owner);
        done.pending->disk->on_transfer(done);
    };
}

Submit OverlayDisk::send(PendingRequest& pending) noexcept {
    CHECK(pending.used > 0, "a pending request waits for nothing");
    pending.running = pending.used;
    for (std::size_t i = 0; i < pending.used; ++i) {
        Transfer& transfer = *pending.transfers[i];
        transfer.operation.offset_bytes = transfer.piece.offset_bytes;
        transfer.operation.vectors = transfer.vectors.data();
        transfer.operation.vector_count = static_cast<unsigned>(transfer.vectors.size());
        ring_.submit(transfer.operation);
    }
    return Submit::pending;
}

void OverlayDisk::on_transfer(Transfer& transfer) noexcept {
    constexpr unsigned kMaxRetries = 64;
    PendingRequest& pending = *transfer.pending;
    const bool write = transfer.operation.kind == reactor::IoOperation::Kind::write;
    const std::int64_t n = transfer.operation.result;
    bool again = false;
    if (n > 0) {
        auto moved = static_cast<std::uint64_t>(n);
        transfer.left_bytes -= std::min(moved, transfer.left_bytes);
        transfer.piece.offset_bytes += moved;
        std::size_t whole = 0;
        while (whole < transfer.vectors.size() && moved >= transfer.vectors[whole].iov_len)
            moved -= transfer.vectors[whole++].iov_len;
        transfer.vectors.erase(transfer.vectors.begin(),
                               transfer.vectors.begin() + static_cast<std::ptrdiff_t>(whole));
        if (moved > 0) {
            transfer.vectors.front().iov_base =
                static_cast<std::uint8_t*>(transfer.vectors.front().iov_base) + moved;
            transfer.vectors.front().iov_len -= moved;
        }
        again = transfer.left_bytes > 0;
    } else if ((n == -EAGAIN || n == -EINTR) && transfer.retries++ < kMaxRetries) {
        again = true;
    } else if (write && (n == -ENOSPC || n == -EDQUOT)) {
        transfer.outcome = Outcome::out_of_space;
    } else {
        transfer.outcome = write ? Outcome::write_failed : Outcome::medium_error;
        if (write) note_write_failed();
    }
    if (again) {
        transfer.operation.offset_bytes = transfer.piece.offset_bytes;
        transfer.operation.vectors = transfer.vectors.data();
        transfer.operation.vector_count = static_cast<unsigned>(transfer.vectors.size());
        ring_.submit(transfer.operation);
        return;
    }
    if (transfer.outcome != Outcome::ok) pending.outcome = transfer.outcome;
    if (--pending.running == 0) on_all_transfers(pending);
}

// Of one that is flushed the next flush tells.
void OverlayDisk::note_write_failed() noexcept {
    if (overlay_->durable() || std::exchange(write_failed_, true)) return;
    if (on_storage_failed) on_storage_failed();
}

void OverlayDisk::on_all_transfers(PendingRequest& pending) noexcept {
    Request& request = *pending.request;
    switch (pending.phase) {
        case PendingRequest::Phase::check:
            return on_checked(pending);
        case PendingRequest::Phase::read:
            break;
        case PendingRequest::Phase::load_edges:
            if (pending.outcome != Outcome::ok) break;
            pending.used = 0;
            if (write_blocks(request, &pending) == Submit::pending) return;
            pending.outcome = request.outcome;
            break;
        case PendingRequest::Phase::write:
            for (std::size_t i = 0; i < pending.used; ++i) {
                const Transfer& transfer = *pending.transfers[i];
                if (transfer.outcome != Outcome::ok) {
                    abandon(transfer.blocks, 0);
                } else if (const Outcome outcome = record(transfer.blocks);
                           outcome != Outcome::ok) {
                    pending.outcome = outcome;
                }
            }
            check_space();
            break;
    }
    retire(pending, pending.outcome);
}

void OverlayDisk::retire(PendingRequest& pending, Outcome outcome) noexcept {
    Request& request = *pending.request;
    active_.erase(std::find(active_.begin(), active_.end(), &pending));
    idle_.push_back(&pending);
    Request* finished = nullptr;
    if (finish(request, outcome) == Submit::done) {
        request.next = nullptr;
        finished = &request;
    }
    give_wanted_snapshot();  // what waited and begins now is after it
    run_waiting(finished);
    maybe_flush();
    complete_all(finished);  // may destroy this disk
}

// ---- What is there

Extent OverlayDisk::extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const {
    const OverlayMap& map = overlay_->map();
    const std::uint64_t end =
        offset_bytes + std::min(max_bytes, geometry_.size_bytes - offset_bytes);
    const auto mapped_at = [&](std::uint64_t offset, std::uint64_t& run_end) {
        const auto block = static_cast<std::uint32_t>(offset / kBlockBytes);
        const std::uint32_t leaf = block / OverlayMap::kLeafBlocks;
        const std::uint64_t leaf_end =
            (std::uint64_t{leaf} + 1) * OverlayMap::kLeafBlocks * kBlockBytes;
        run_end = (std::uint64_t{block} + 1) * kBlockBytes;
        if (map.leaf_is_zero(leaf)) run_end = leaf_end;
        const BlockState state = map.get(block);
        if (!state.is_base()) return state.has_slot();
        if (map.leaf_is_base(leaf)) run_end = (offset / kChunkBytes + 1) * kChunkBytes;
        return options_.version->location(offset / kChunkBytes) != store::kZeroChunk;
    };
    Extent extent;
    std::uint64_t at = offset_bytes, run_end = at;
    if (at >= end) return extent;
    extent.mapped = mapped_at(at, run_end);
    while (at < end && mapped_at(at, run_end) == extent.mapped) at = std::min(run_end, end);
    extent.length_bytes = at - offset_bytes;
    return extent;
}

std::optional<ThinSpace> OverlayDisk::space() const {
    const std::uint64_t used = overlay_->used_blocks(), quota = overlay_->quota_blocks();
    const std::uint64_t left = (quota - std::min(used, quota)) * kBlockBytes;
    return ThinSpace{used * kBlockBytes, std::min(left, overlay_->slots().spare_bytes())};
}

OverlayUsage OverlayDisk::usage() const {
    return {overlay_->used_blocks() * kBlockBytes,
            overlay_->quota_blocks() * kBlockBytes,
            overlay_->slots().ram_bytes(),
            overlay_->journal_bytes(),
            overlay_->sync_failed() || write_failed_,
            overlay_->checks().bad_count() * kBlockBytes,
            overlay_->checks().unchecked_count() * kBlockBytes};
}

// ---- Snapshots

void OverlayDisk::take_snapshot(SnapshotTaken taken) {
    if (snapshot_wanted_ || overlay_->is_holding())
        return taken(failure(ErrorKind::conflict,
                             "this disk is being saved already; wait for that task or cancel it"));
    snapshot_wanted_ = std::move(taken);
    give_wanted_snapshot();
}

// A transfer that overwrites a slot would change it under the snapshot's reader. While one is
// wanted no new ones begin.
void OverlayDisk::give_wanted_snapshot() noexcept {
    if (!snapshot_wanted_) return;
    for (const PendingRequest* pending : active_) {
        if (pending->phase != PendingRequest::Phase::write) continue;
        for (std::size_t i = 0; i < pending->used; ++i)
            for (const BlockWrite& write : pending->transfers[i]->blocks)
                if (write.target.in_place) return;
    }
    std::exchange(snapshot_wanted_,
                  nullptr)(std::make_unique<const DiskSnapshot>(*overlay_, options_.version));
}

// ---- Opening

Result<std::unique_ptr<LinkDisk>> open_link_disk(LinkDiskOptions options, reactor::IoRing& ring,
                                                 store::Storage& storage,
                                                 const OverlayTuning& tuning) {
    if (options.version->size_bytes() % options.logical_block_bytes != 0)
        return failure(ErrorKind::conflict,
                       fmt::format("a disk of {} bytes cannot have blocks of {} bytes",
                                   options.version->size_bytes(), options.logical_block_bytes));
    GOLDLINK_TRY_ASSIGN(auto overlay, Overlay::open(storage, options, tuning));
    return std::make_unique<OverlayDisk>(std::move(overlay), std::move(options), ring, storage);
}

Result<std::unique_ptr<LinkDisk>> LinkDisk::open(LinkDiskOptions options, reactor::IoRing& ring) {
    return open_link_disk(std::move(options), ring, store::posix_storage());
}

Result<> LinkDisk::destroy(const std::filesystem::path& folder,
                           const std::filesystem::path& ram_folder) {
    for (const auto* path : {&ram_folder, &folder}) {
        if (path->empty()) continue;
        // The journal first: what is left of an interrupted removal is no overlay any more.
        std::error_code error;
        for (const char* name :
             {"journal", "journal.new", "slots-ram", "slots", kOwnerFile, kOwnerFileUnfinished}) {
            std::filesystem::remove(*path / name, error);
            if (error)
                return system_failure("cannot remove " + (*path / name).string(), error.value());
        }
        std::filesystem::remove(*path, error);  // unless somebody else keeps files there
    }
    return {};
}

}  // namespace goldlink::disk
