// OverlayDisk: atomic writes. All blocks go to new slots, even those that could be overwritten in
// place, and what is in the slots counts only from the record of the whole group on: until then the
// map, a reader, a process killed in the middle and a journal cut short by a power loss all know
// the old slots alone. Zeroes and what equals the image take slots too.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/check.hpp"
#include "target/disk/overlay_disk_pending.hpp"

namespace goldlink::disk {

Outcome OverlayDisk::store_block(const SlotPlace& place, std::uint8_t* data) noexcept {
    if (place.mapped != nullptr) {
        std::memcpy(place.mapped, data, kBlockBytes);
        return overlay_->slots().memory_failed() ? Outcome::write_failed : Outcome::ok;
    }
    for (std::uint64_t done = 0; done < kBlockBytes;) {
        const iovec rest{data + done, kBlockBytes - done};
        const std::int64_t n = storage_.write(place.fd, &rest, 1, place.offset_bytes + done);
        if (n == -ENOSPC || n == -EDQUOT) return outcome_of(Overlay::Refusal::space);
        if (n <= 0) return Outcome::write_failed;
        done += static_cast<std::uint64_t>(n);
    }
    return Outcome::ok;
}

// `edge_blocks` hold the first and last block where the request has them in part. Bounded by
// kMaxAtomicBytes, so it is written here and now, like most writes.
Outcome OverlayDisk::write_together(Request& request, std::uint8_t* edge_blocks) noexcept {
    CHECK(request.operation == Operation::write && request.length_bytes <= kMaxAtomicBytes,
          "an atomic write is short");
    const BlockRange range = blocks_of(request);
    const bool head = request.offset_bytes % kBlockBytes != 0 || range.first == range.last;
    const std::uint64_t end = request.offset_bytes + request.length_bytes;
    std::vector<Overlay::Placed> placed;
    Outcome outcome = Outcome::ok;
    const std::int64_t started_us = storage_.now_us();
    for (std::uint64_t at = range.first; at <= range.last && outcome == Outcome::ok; ++at) {
        const bool whole =
            at * kBlockBytes >= request.offset_bytes && (at + 1) * kBlockBytes <= end;
        std::uint8_t* data = whole ? request.data + (at * kBlockBytes - request.offset_bytes)
                             : at == range.first && head ? edge_blocks
                                                         : edge_blocks + kBlockBytes;
        const auto block = static_cast<std::uint32_t>(at);
        Overlay::Target target;
        outcome = outcome_of(overlay_->choose(block, false, target));
        if (outcome != Outcome::ok) break;
        const std::uint32_t crc = overlay_->durable() ? crc32c(data, kBlockBytes) : 0;
        placed.push_back({block, crc, target});
        outcome = store_block(overlay_->slots().place(target.slot), data);
    }
    note_write_time(started_us);
    if (outcome == Outcome::ok) outcome = outcome_of(overlay_->recorded_together(placed));
    if (outcome != Outcome::ok)
        for (const Overlay::Placed& each : placed) overlay_->abandoned(each.block, each.target);
    return outcome;
}

}  // namespace goldlink::disk
