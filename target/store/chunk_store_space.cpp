// What of the store's space is left over although no chunk needs it.
#include <algorithm>

#include "target/store/chunk_store.hpp"

namespace goldlink::store {

namespace {

constexpr std::uint64_t kRunSlots = 256;  // 16 MiB in one go

}  // namespace

Result<std::uint64_t> ChunkStore::left_orphans() {
    const std::lock_guard lock(writers_mutex_);
    if (writers_ > 0) return 0;  // the last of them sweeps
    GOLDLINK_TRY_ASSIGN(const auto txn, index_->begin_read());
    return txn.orphan_count();
}

Result<std::uint64_t> ChunkStore::sweep_orphans() {
    const std::lock_guard lock(writers_mutex_);
    if (writers_ > 0 || refusal_) return 0;
    std::uint64_t count = 0;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, index_->begin_read());
        GOLDLINK_TRY_ASSIGN(count, txn.orphan_count());
    }
    GOLDLINK_TRY(sweep());
    return count;
}

// The next free slots that lie side by side in a pack. Held, nobody else takes them; then there
// must be a writer, so that no end of writing finds them missing.
Result<ChunkStore::FreeRun> ChunkStore::free_run(std::uint64_t from, bool hold) {
    const std::lock_guard lock(slots_mutex_);
    const auto first = free_slots_.lower_bound(from);
    FreeRun run;
    if (first == free_slots_.end()) return run;
    run.first = *first;
    auto end = first;
    while (end != free_slots_.end() && *end == run.first + run.count && run.count < kRunSlots &&
           *end / kSlotsPerPack == run.first / kSlotsPerPack) {
        ++run.count;
        ++end;
    }
    GOLDLINK_TRY_ASSIGN(run.taken_bytes, packs_.taken_bytes(run.first, run.count));
    if (hold && run.taken_bytes > 0) free_slots_.erase(first, end);
    return run;
}

void ChunkStore::let_go(const FreeRun& run) {
    const std::lock_guard lock(slots_mutex_);
    for (std::uint64_t slot = run.first; slot < run.first + run.count; ++slot)
        free_slots_.insert(slot);
}

Result<std::uint64_t> ChunkStore::space_of_free_slots() {
    std::uint64_t bytes = 0;
    for (std::uint64_t from = 0;;) {
        GOLDLINK_TRY_ASSIGN(const FreeRun run, free_run(from, false));
        if (run.count == 0) return bytes;
        bytes += run.taken_bytes;
        from = run.first + run.count;
    }
}

Result<std::uint64_t> ChunkStore::punch_free_slots(Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const auto writing, begin_writing());
    std::uint64_t given_back = 0;
    for (std::uint64_t from = 0;;) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the clean-up was cancelled");
        GOLDLINK_TRY_ASSIGN(const FreeRun run, free_run(from, true));
        if (run.count == 0) return given_back;
        from = run.first + run.count;
        if (run.taken_bytes == 0) continue;
        const auto punched = packs_.punch(run.first, run.count);
        const auto left = packs_.taken_bytes(run.first, run.count);
        let_go(run);
        if (!punched) return Failure(punched.error());
        if (!left) return Failure(left.error());
        const std::uint64_t bytes = run.taken_bytes - std::min(run.taken_bytes, *left);
        given_back += bytes;
        progress.done_bytes += bytes;
    }
}

Result<std::vector<LeftFile>> ChunkStore::empty_packs(const std::vector<bool>& leaving) {
    std::uint64_t end = 0;
    {
        const std::lock_guard lock(slots_mutex_);
        end = next_slot_;
        auto free = free_slots_.rbegin();
        while (end > 0) {
            const bool is_free = free != free_slots_.rend() && *free == end - 1;
            if (is_free) ++free;
            if (!is_free && (end > leaving.size() || !leaving[end - 1])) break;
            --end;
        }
    }
    return packs_.files_beyond(end);
}

Result<std::vector<LeftFile>> ChunkStore::drop_empty_packs() {
    const std::lock_guard lock(writers_mutex_);
    if (writers_ > 0 || refusal_) return std::vector<LeftFile>();
    std::uint64_t end = 0;
    std::vector<std::uint64_t> dropped;
    {
        const std::lock_guard slots_lock(slots_mutex_);
        end = next_slot_;
        for (auto free = free_slots_.rbegin(); free != free_slots_.rend() && *free == end - 1;
             ++free)
            dropped.push_back(--end);
    }
    GOLDLINK_TRY_ASSIGN(auto beyond, packs_.files_beyond(end));
    if (beyond.empty()) return beyond;
    {
        GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
        for (const std::uint64_t slot : dropped) GOLDLINK_TRY(txn.erase_free(slot));
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextSlot, end));
        GOLDLINK_TRY(txn.commit());
    }
    {
        const std::lock_guard slots_lock(slots_mutex_);
        for (const std::uint64_t slot : dropped) free_slots_.erase(slot);
        next_slot_ = end;
    }
    GOLDLINK_TRY(packs_.truncate_from(end));
    return beyond;
}

}  // namespace goldlink::store
