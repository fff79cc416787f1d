// OverlayDisk: blocks that an opened overlay has not compared yet, and bad ones. A read, and a
// write of a part of a block, first has the blocks it needs read whole and compared with what was
// written; so opening costs no time for them, and nothing is served that nobody compared. A bad
// block is a medium error until it is written whole or unmapped, as on a drive; all others are
// served. When all are compared and good, a read asks no more than SlotChecks::all_good().
#include <cstring>

#include "target/disk/overlay_disk_pending.hpp"

namespace goldlink::disk {

// `missed`: the pending request has transfers that bring the blocks, for on_checked.
OverlayDisk::Progress OverlayDisk::check_blocks(std::uint64_t first, std::uint64_t last,
                                                Request& request,
                                                PendingRequest*& pending) noexcept {
    SlotChecks& checks = overlay_->checks();
    bool bad = false;
    Piece piece;
    const auto end_piece = [&] {
        if (piece.length_bytes > 0) add_transfer(*pending, piece, false);
        piece = {};
    };
    for (std::uint64_t at = first; at <= last && !bad; ++at) {
        const BlockState state = overlay_->map().get(static_cast<std::uint32_t>(at));
        if (!state.has_slot()) continue;
        if (checks.is_bad(state.slot())) bad = true;
        if (!checks.is_unchecked(state.slot())) continue;
        const SlotPlace place = overlay_->slots().place(state.slot());
        std::uint8_t data[kBlockBytes];
        const iovec vector{data, kBlockBytes};
        const std::int64_t n =
            storage_.read_cached(place.fd, &vector, 1, place.offset_bytes, place.memory_backed);
        if (n == kBlockBytes) {
            bad = bad || !checks.judge(state.slot(), crc32c(data, kBlockBytes));
            continue;
        }
        if (n <= 0 && n != -EAGAIN) {
            bad = true;
            continue;
        }
        if (pending == nullptr) pending = &make_pending(request);
        const BlockRange range = blocks_of(request);
        pending->checked.resize((range.last - range.first + 1) * kBlockBytes);
        std::uint8_t* const to = pending->checked.data() + (at - range.first) * kBlockBytes;
        if (piece.fd != place.fd || piece.offset_bytes + piece.length_bytes != place.offset_bytes ||
            piece.data + piece.length_bytes != to) {
            end_piece();
            piece = {place.fd, place.offset_bytes, to, 0, place.memory_backed, false};
        }
        piece.length_bytes += kBlockBytes;
    }
    end_piece();
    if (pending != nullptr && pending->used > 0) {
        if (bad) pending->outcome = Outcome::medium_error;
        return Progress::missed;
    }
    return bad ? Progress::failed : Progress::done;
}

// The edges of a write that are to be filled up with what their blocks hold.
OverlayDisk::Progress OverlayDisk::check_edges(Request& request, bool head, bool tail,
                                               PendingRequest*& pending) noexcept {
    const BlockRange range = blocks_of(request);
    Progress found = Progress::done;
    for (const auto& [wanted, block] :
         {std::pair{head, range.first}, std::pair{tail, range.last}}) {
        if (!wanted) continue;
        const Progress one = check_blocks(block, block, request, pending);
        if (one != Progress::done) found = one;
    }
    if (pending != nullptr && pending->used > 0) {
        if (found == Progress::failed) pending->outcome = Outcome::medium_error;
        return Progress::missed;
    }
    return found;
}

void OverlayDisk::on_checked(PendingRequest& pending) noexcept {
    Request& request = *pending.request;
    const BlockRange range = blocks_of(request);
    for (std::size_t i = 0; i < pending.used; ++i) {
        const Transfer& transfer = *pending.transfers[i];
        if (transfer.outcome != Outcome::ok) continue;
        for (std::uint64_t at = 0; at < transfer.piece.length_bytes; at += kBlockBytes) {
            const std::uint8_t* const data = transfer.piece.data + at;
            const auto block = static_cast<std::uint32_t>(
                range.first +
                static_cast<std::uint64_t>(data - pending.checked.data()) / kBlockBytes);
            const BlockState state = overlay_->map().get(block);
            if (!overlay_->checks().judge(state.slot(), crc32c(data, kBlockBytes)))
                pending.outcome = Outcome::medium_error;
        }
    }
    pending.used = 0;
    pending.checked = {};
    if (pending.outcome != Outcome::ok) return retire(pending, pending.outcome);
    PendingRequest* same = &pending;
    if (request.operation == Operation::read) {
        const Progress progress =
            read_all(request.offset_bytes, request.data, request.length_bytes, request, same);
        pending.phase = PendingRequest::Phase::read;
        if (progress == Progress::missed) return static_cast<void>(send(pending));
        return retire(pending, progress == Progress::done ? Outcome::ok : Outcome::medium_error);
    }
    (void)load_edges(request, same);
    pending.phase = PendingRequest::Phase::load_edges;
    if (pending.used > 0) return static_cast<void>(send(pending));
    if (pending.outcome != Outcome::ok) return retire(pending, pending.outcome);
    if (write_blocks(request, &pending) == Submit::pending) return;
    retire(pending, request.outcome);
}

void OverlayDisk::note_checked(std::span<const CheckedBlock> blocks) {
    for (const CheckedBlock& each : blocks) {
        const BlockState state = overlay_->map().get(each.block);
        if (state.has_slot() && state.slot() == each.slot)
            (void)overlay_->checks().judge(each.slot, each.crc);
    }
}

}  // namespace goldlink::disk
