#include "target/store/garbage.hpp"

#include <algorithm>

namespace goldlink::store {

Result<std::uint64_t> Releases::add(const Manifest& manifest) {
    GOLDLINK_TRY_ASSIGN(const auto txn, store_.index().begin_read());
    std::vector<bool> seen;  // a version has some chunks several times
    std::uint64_t bytes = 0;
    for (const Digest& chunk : manifest.chunks) {
        if (is_zero(chunk)) continue;
        GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(chunk));
        if (!record) continue;  // lost earlier: nothing comes back
        if (record->slot >= gone_.size()) {
            const std::uint64_t slots = std::max(store_.next_slot(), record->slot + 1);
            gone_.resize(slots);
            freed_.resize(slots);
        }
        if (record->slot >= seen.size()) seen.resize(gone_.size());
        if (seen[record->slot]) continue;
        seen[record->slot] = true;
        if (++gone_[record->slot] < record->version_count) continue;
        freed_[record->slot] = true;
        bytes += kChunkBytes;
    }
    return bytes;
}

}  // namespace goldlink::store
