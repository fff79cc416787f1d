// OverlayDisk: writes, unmaps and the space they take.
//
// Overlay files are written with buffered pwritev inside submit(): it costs 0.9 us a block where
// io_uring, which hands buffered ext4 writes to a worker, costs several. What pwritev can wait for
// is the kernel holding back a writer that outruns its disk; when that is seen (a write took longer
// than kStallUs), the next writes of this disk go through the ring and the reactor stays free.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.hpp"
#include "target/disk/block_copy.hpp"
#include "target/disk/overlay_disk_pending.hpp"

namespace goldlink::disk {

using store::kChunkBytes;

namespace {

constexpr std::int64_t kStallUs =
    10'000;  // the kernel's shortest pause; a busy core's turn is less
constexpr unsigned kWritesAfterStall = 256;
constexpr unsigned kMaxCompareEvery = 16;

bool all_zero(const std::uint8_t* data) {
    std::uint64_t first;
    std::memcpy(&first, data, sizeof first);
    return first == 0 && std::memcmp(data, data + 8, kBlockBytes - 8) == 0;
}

struct Edges {
    bool head = false, tail = false;  // the first, the last block is not written whole
    bool same = false;                // and both are one block
};

Edges edges_of(const Request& request) {
    const std::uint64_t end = request.offset_bytes + request.length_bytes;
    Edges edges{request.offset_bytes % kBlockBytes != 0, end % kBlockBytes != 0, false};
    edges.same = (end - 1) / kBlockBytes == request.offset_bytes / kBlockBytes;
    if (edges.same) edges.head = edges.head || edges.tail;
    if (edges.same) edges.tail = false;
    return edges;
}

}  // namespace

Outcome OverlayDisk::outcome_of(Overlay::Refusal refusal) noexcept {
    switch (refusal) {
        case Overlay::Refusal::none:
            return Outcome::ok;
        case Overlay::Refusal::failed:
            return Outcome::write_failed;
        case Overlay::Refusal::space:
            break;
    }
    if (std::exchange(warned_percent_, 100) < 100 && on_space_warning) on_space_warning(100);
    return Outcome::out_of_space;
}

// Under discard a part of a block that has a slot is changed right there.
bool OverlayDisk::write_part_in_place(std::uint32_t block, std::uint64_t in_block,
                                      const std::uint8_t* data, std::uint64_t length) noexcept {
    const BlockState state = overlay_->map().get(block);
    if (overlay_->durable() || !state.has_slot() || overlay_->is_held(state.slot())) return false;
    const SlotPlace place = overlay_->slots().place(state.slot());
    if (place.mapped == nullptr || overlay_->slots().memory_failed()) return false;
    if (data != nullptr)
        std::memcpy(place.mapped + in_block, data, length);
    else
        std::memset(place.mapped + in_block, 0, length);
    return !overlay_->slots().memory_failed();
}

Submit OverlayDisk::start_write(Request& request) noexcept {
    const Edges edges = edges_of(request);
    if (edges.same && edges.head && !request.atomic &&
        write_part_in_place(static_cast<std::uint32_t>(request.offset_bytes / kBlockBytes),
                            request.offset_bytes % kBlockBytes,
                            request.operation == Operation::write ? request.data : nullptr,
                            request.length_bytes))
        return finish(request, Outcome::ok);
    if (edges.head || edges.tail) {
        PendingRequest* pending = nullptr;
        if (!overlay_->checks().all_good()) [[unlikely]] {
            switch (check_edges(request, edges.head, edges.tail, pending)) {
                case Progress::done:
                    break;
                case Progress::failed:
                    return finish(request, Outcome::medium_error);
                case Progress::missed:
                    pending->phase = PendingRequest::Phase::check;
                    return send(*pending);
            }
        }
        switch (load_edges(request, pending)) {
            case Progress::done:
                break;
            case Progress::failed:
                return finish(request, Outcome::medium_error);
            case Progress::missed:
                pending->phase = PendingRequest::Phase::load_edges;
                return send(*pending);
        }
    }
    return write_blocks(request, nullptr);
}

// Fetches the blocks that are written in part: into edges_, or where one must be waited for, both
// into the pending request.
OverlayDisk::Progress OverlayDisk::load_edges(Request& request, PendingRequest*& pending) noexcept {
    const Edges edges = edges_of(request);
    const BlockRange range = blocks_of(request);
    const auto load = [&](std::uint64_t block, std::size_t at) {
        // A disk may end within its last block: what is past the end is zero.
        const std::uint64_t offset = block * kBlockBytes;
        const std::uint64_t length =
            std::min<std::uint64_t>(kBlockBytes, geometry_.size_bytes - offset);
        std::memset(edges_.data() + at, 0, kBlockBytes);
        Progress progress = read_all(offset, edges_.data() + at, length, request, pending);
        if (progress != Progress::missed) {
            if (pending != nullptr)
                std::memcpy(pending->edges.data() + at, edges_.data() + at, kBlockBytes);
            return progress;
        }
        // Move what was read, and what is to come, to where it stays.
        std::memcpy(pending->edges.data(), edges_.data(), edges_.size());
        for (std::size_t i = 0; i < pending->used; ++i) {
            Transfer& transfer = *pending->transfers[i];
            if (transfer.piece.data < edges_.data() ||
                transfer.piece.data >= edges_.data() + edges_.size())
                continue;
            transfer.piece.data = pending->edges.data() + (transfer.piece.data - edges_.data());
            transfer.vectors.front().iov_base = transfer.piece.data;
        }
        return progress;
    };
    Progress head = Progress::done, tail = Progress::done;
    if (edges.head) head = load(range.first, 0);
    if (edges.tail) tail = load(range.last, kBlockBytes);
    const bool failed = head == Progress::failed || tail == Progress::failed;
    if (pending == nullptr) return failed ? Progress::failed : Progress::done;
    if (failed) pending->outcome = Outcome::medium_error;
    return Progress::missed;
}

// `pending` is null, or the request's own with the edges it waited for.
Submit OverlayDisk::write_blocks(Request& request, PendingRequest* pending) noexcept {
    const Edges edges = edges_of(request);
    const BlockRange range = blocks_of(request);
    std::uint8_t* edge_blocks = pending != nullptr ? pending->edges.data() : edges_.data();
    const auto merge = [&](std::uint8_t* block, std::uint64_t in_block, const std::uint8_t* from,
                           std::uint64_t length) {
        if (request.operation == Operation::write)
            std::memcpy(block + in_block, from, length);
        else
            std::memset(block + in_block, 0, length);
    };
    if (edges.head) {
        const std::uint64_t in_block = request.offset_bytes % kBlockBytes;
        merge(edge_blocks, in_block, request.data,
              std::min(request.length_bytes, kBlockBytes - in_block));
    }
    if (edges.tail) {
        const std::uint64_t length = (request.offset_bytes + request.length_bytes) % kBlockBytes;
        const auto* from =
            request.data == nullptr ? nullptr : request.data + (request.length_bytes - length);
        merge(edge_blocks + kBlockBytes, 0, from, length);
    }
    const bool async = throttled();
    const bool was_pending = pending != nullptr;
    // A write's blocks are a record each; what is unmapped whole is one.
    const std::uint64_t records =
        request.operation == Operation::write ? range.last - range.first + 2 : 3;
    Outcome outcome = outcome_of(overlay_->reserve(records));
    if (outcome == Outcome::ok)
        outcome = request.atomic ? write_together(request, edge_blocks)
                                 : gather_blocks(request, edge_blocks, async, pending);
    if (!request.atomic && pending != nullptr && pending->used > 0) {
        if (pending->outcome == Outcome::ok) pending->outcome = outcome;
        pending->phase = PendingRequest::Phase::write;
        // The edges are read by the ring from where they stay.
        return send(*pending);
    }
    check_space();
    if (was_pending) {  // the caller retires it
        request.outcome = outcome;
        return Submit::done;
    }
    maybe_flush();
    return finish(request, outcome);
}

Outcome OverlayDisk::gather_blocks(Request& request, std::uint8_t* edge_blocks, bool async,
                                   PendingRequest*& pending) noexcept {
    const Edges edges = edges_of(request);
    const BlockRange range = blocks_of(request);
    if (async && pending == nullptr) {
        pending = &make_pending(request);
        std::memcpy(pending->edges.data(), edge_blocks, pending->edges.size());
        edge_blocks = pending->edges.data();
        const Outcome outcome = gather_blocks(request, edge_blocks, async, pending);
        if (pending->used == 0) {  // nothing to wait for after all
            active_.erase(std::find(active_.begin(), active_.end(), pending));
            idle_.push_back(std::exchange(pending, nullptr));
        }
        return outcome;
    }
    const bool zeroing = request.operation != Operation::write;
    bool streamed = false;
    piece_blocks_.clear();
    piece_vectors_.clear();
    piece_ = {};
    std::uint64_t zero_from = 0, zero_count = 0;  // a run of blocks to be zeroed
    const auto end_zero_run = [&] {
        if (zero_count == 0) return Outcome::ok;
        return outcome_of(
            overlay_->zeroed(static_cast<std::uint32_t>(zero_from),
                             static_cast<std::uint32_t>(std::exchange(zero_count, 0))));
    };
    Outcome outcome = Outcome::ok;
    for (std::uint64_t at = range.first; at <= range.last && outcome == Outcome::ok; ++at) {
        const bool head = at == range.first && edges.head, tail = at == range.last && edges.tail;
        const auto block = static_cast<std::uint32_t>(at);
        if (zeroing && !head && !tail) {  // the middle, at once
            const std::uint64_t last = range.last - (edges.tail ? 1 : 0);
            outcome =
                outcome_of(overlay_->zeroed(block, static_cast<std::uint32_t>(last - at + 1)));
            at = last;
            continue;
        }
        std::uint8_t* data = head   ? edge_blocks
                             : tail ? edge_blocks + kBlockBytes
                                    : request.data + (at * kBlockBytes - request.offset_bytes);
        const BlockState state = overlay_->map().get(block);
        if (all_zero(data)) {
            const bool zero_already =
                state.is_zero() ||
                (state.is_base() &&
                 options_.version->location(at * kBlockBytes / kChunkBytes) == store::kZeroChunk);
            if (zero_already) continue;
            if (zero_count == 0) zero_from = at;
            if (zero_from + zero_count != at) {
                outcome = end_zero_run();
                zero_from = at;
            }
            ++zero_count;
            continue;
        }
        if (state.is_base() && same_as_base(block, data)) continue;
        const bool in_place = !async || (!overlay_->durable() && !snapshot_wanted_);
        Overlay::Target target;
        outcome = outcome_of(overlay_->choose(block, in_place, target));
        if (outcome != Outcome::ok) break;
        const std::uint32_t crc = overlay_->durable() ? crc32c(data, kBlockBytes) : 0;
        const SlotPlace place = overlay_->slots().place(target.slot);
        if (place.mapped != nullptr) {
            stream_block(place.mapped, data);
            streamed = true;
            outcome = outcome_of(overlay_->recorded(block, target, crc));
            continue;
        }
        if (piece_.length_bytes > 0 &&
            (piece_.fd != place.fd ||
             piece_.offset_bytes + piece_.length_bytes != place.offset_bytes)) {
            outcome = write_piece(request, async, pending);
            if (outcome != Outcome::ok) {
                overlay_->abandoned(block, target);
                break;
            }
        }
        if (piece_.length_bytes == 0)
            piece_ = {place.fd, place.offset_bytes, data, 0, place.memory_backed, false};
        piece_.length_bytes += kBlockBytes;
        piece_blocks_.push_back({block, crc, target});
        if (!piece_vectors_.empty() && static_cast<std::uint8_t*>(piece_vectors_.back().iov_base) +
                                               piece_vectors_.back().iov_len ==
                                           data)
            piece_vectors_.back().iov_len += kBlockBytes;
        else
            piece_vectors_.push_back({data, kBlockBytes});
    }
    if (streamed) {
        end_streaming();
        if (overlay_->slots().memory_failed()) [[unlikely]]
            outcome = Outcome::write_failed;
    }
    // What was gathered before a refusal is written all the same: no slot is left hanging.
    const Outcome written = write_piece(request, async, pending);
    const Outcome zeroed = end_zero_run();
    if (outcome == Outcome::ok) outcome = written;
    return outcome == Outcome::ok ? zeroed : outcome;
}

Outcome OverlayDisk::write_piece(Request& request, bool async, PendingRequest*& pending) noexcept {
    if (piece_.length_bytes == 0) return Outcome::ok;
    Piece piece = std::exchange(piece_, {});
    if (async) {
        CHECK(pending != nullptr && pending->request == &request, "a transfer without its request");
        add_transfer(*pending, piece, true);
        Transfer& transfer = *pending->transfers[pending->used - 1];
        transfer.vectors.swap(piece_vectors_);
        transfer.blocks.swap(piece_blocks_);
        piece_vectors_.clear();
        piece_blocks_.clear();
        if (throttled_writes_ > 0) --throttled_writes_;
        return Outcome::ok;
    }
    const std::int64_t started_us = piece.memory_backed ? 0 : storage_.now_us();
    Outcome outcome = Outcome::ok;
    std::size_t first = 0;
    while (piece.length_bytes > 0) {
        const std::int64_t n = storage_.write(piece.fd, piece_vectors_.data() + first,
                                              static_cast<unsigned>(piece_vectors_.size() - first),
                                              piece.offset_bytes);
        if (n <= 0) {
            outcome = n == -ENOSPC || n == -EDQUOT ? outcome_of(Overlay::Refusal::space)
                                                   : Outcome::write_failed;
            break;
        }
        auto moved = static_cast<std::uint64_t>(n);
        piece.length_bytes -= moved;
        piece.offset_bytes += moved;
        while (first < piece_vectors_.size() && moved >= piece_vectors_[first].iov_len)
            moved -= piece_vectors_[first++].iov_len;
        if (moved > 0) {
            piece_vectors_[first].iov_base =
                static_cast<std::uint8_t*>(piece_vectors_[first].iov_base) + moved;
            piece_vectors_[first].iov_len -= moved;
        }
    }
    if (!piece.memory_backed) note_write_time(started_us);
    if (outcome == Outcome::ok)
        outcome = record(piece_blocks_);
    else
        abandon(piece_blocks_, 0);
    piece_blocks_.clear();
    piece_vectors_.clear();
    return outcome;
}

Outcome OverlayDisk::record(const std::vector<BlockWrite>& blocks) noexcept {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const auto refusal = overlay_->recorded(blocks[i].block, blocks[i].target, blocks[i].crc);
        if (refusal == Overlay::Refusal::none) continue;
        abandon(blocks, i + 1);
        return outcome_of(refusal);
    }
    return Outcome::ok;
}

void OverlayDisk::abandon(const std::vector<BlockWrite>& blocks, std::size_t from) noexcept {
    for (std::size_t i = from; i < blocks.size(); ++i)
        overlay_->abandoned(blocks[i].block, blocks[i].target);
}

void OverlayDisk::note_write_time(std::int64_t started_us) noexcept {
    if (storage_.now_us() - started_us > kStallUs) throttled_writes_ = kWritesAfterStall;
}

// Worth a look only at a first write, only at cached base data, and, while it never finds anything,
// only at every sixteenth.
bool OverlayDisk::same_as_base(std::uint32_t block, const std::uint8_t* data) noexcept {
    if (--compare_countdown_ > 0) return false;
    compare_countdown_ = compare_every_;
    const std::uint64_t offset = std::uint64_t{block} * kBlockBytes;
    const auto location = options_.version->location(offset / kChunkBytes);
    if (!store::is_stored(location)) return false;  // zero, and the data is not; or bad
    std::uint8_t base[kBlockBytes];
    const iovec vector{base, kBlockBytes};
    const std::int64_t n = storage_.read_cached(
        options_.version->pack_fd(location), &vector, 1,
        store::Version::slot_offset_bytes(location) + offset % kChunkBytes, base_in_memory_);
    const bool same = n == kBlockBytes && std::memcmp(base, data, kBlockBytes) == 0;
    compare_every_ = same ? 1 : std::min(compare_every_ * 2, kMaxCompareEvery);
    compare_countdown_ = compare_every_;
    return same;
}

void OverlayDisk::set_quota(std::uint64_t quota_bytes) {
    overlay_->set_quota(quota_bytes);
    warn_of_space();
}

void OverlayDisk::check_space() noexcept {
    const std::uint64_t used = overlay_->used_blocks();
    if (used == checked_blocks_) return;
    checked_blocks_ = used;
    warn_of_space();
}

void OverlayDisk::warn_of_space() noexcept {
    const std::uint64_t used = overlay_->used_blocks();
    std::uint64_t limit = overlay_->quota_blocks();
    const std::uint64_t spare = overlay_->slots().spare_bytes() / kBlockBytes;
    if (spare < limit) limit = std::min(limit, used + spare);
    const int percent =
        limit == 0 ? 100 : static_cast<int>(std::min<std::uint64_t>(used * 100 / limit, 100));
    // Space that was given up is warned of again when it fills again.
    for (const int level : {kFullSoonPercent, kFillingPercent})
        if (percent < level - 5 && warned_percent_ >= level)
            warned_percent_ = level == kFillingPercent ? 0 : kFillingPercent;
    const int level = percent >= kFullSoonPercent  ? kFullSoonPercent
                      : percent >= kFillingPercent ? kFillingPercent
                                                   : 0;
    if (level <= warned_percent_) return;
    warned_percent_ = level;
    if (on_space_warning) on_space_warning(percent);
}

}  // namespace goldlink::disk
