#include "target/store/chunk_store.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/file.hpp"
#include "common/log.hpp"

namespace goldlink::store {

namespace {

constexpr std::string_view kNextSlot = "next_slot";
constexpr std::string_view kUnclean = "unclean";
constexpr std::size_t kSweepBatch = 4096;

// Punches ascending slots, neighbours in one go.
Result<> punch_all(Packs& packs, const std::vector<std::uint64_t>& slots) {
    for (std::size_t i = 0; i < slots.size();) {
        std::size_t end = i + 1;
        while (end < slots.size() && slots[end] == slots[end - 1] + 1) ++end;
        GOLDLINK_TRY(packs.punch(slots[i], end - i));
        i = end;
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<ChunkStore>> ChunkStore::open(const std::filesystem::path& folder,
                                                     std::uint64_t resident_budget_bytes,
                                                     Storage& storage) {
    const auto packs = folder / "packs";
    if (const int error = storage.make_folder(packs); error < 0)
        return system_failure(fmt::format("cannot create folder {}", packs.string()), -error);
    GOLDLINK_TRY_ASSIGN(auto index, ChunkIndex::open(folder / "index"));
    std::unique_ptr<ChunkStore> store(
        new ChunkStore(storage, packs, resident_budget_bytes, std::move(index)));
    GOLDLINK_TRY(store->load());
    return store;
}

Result<> ChunkStore::load() {
    std::uint64_t unclean = 0;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, index_->begin_read());
        GOLDLINK_TRY_ASSIGN(unclean, txn.meta(kUnclean));
        GOLDLINK_TRY_ASSIGN(next_slot_, txn.meta(kNextSlot));
        GOLDLINK_TRY(txn.for_each_free([this](std::uint64_t slot) {
            if (slot < next_slot_) free_slots_.insert(free_slots_.end(), slot);
        }));
    }
    return unclean != 0 ? recover() : Result<>();
}

Result<> ChunkStore::recover() {
    log::warn("the image store was not closed while being written to: counting its slots anew");
    GOLDLINK_TRY(sweep());
    GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
    std::vector<std::uint64_t> used;
    GOLDLINK_TRY(txn.for_each_chunk([&used](const Digest&, const ChunkRecord& record) -> Result<> {
        used.push_back(record.slot);
        return {};
    }));
    std::sort(used.begin(), used.end());
    if (std::adjacent_find(used.begin(), used.end()) != used.end())
        return failure(ErrorKind::corrupt,
                       "the image store's index names one slot for two chunks; restore the index "
                       "from a backup");
    GOLDLINK_TRY(txn.clear_free());
    free_slots_.clear();
    next_slot_ = used.empty() ? 0 : used.back() + 1;
    std::uint64_t expected = 0;
    for (const std::uint64_t slot : used) {
        for (; expected < slot; ++expected) {
            free_slots_.insert(free_slots_.end(), expected);
            GOLDLINK_TRY(txn.put_free(expected));
        }
        expected = slot + 1;
    }
    GOLDLINK_TRY(txn.put_meta(kNextSlot, next_slot_));
    GOLDLINK_TRY(txn.put_meta(kUnclean, 0));
    GOLDLINK_TRY(txn.commit());
    GOLDLINK_TRY(punch_all(packs_, {free_slots_.begin(), free_slots_.end()}));
    return packs_.truncate_from(next_slot_);
}

Result<ChunkStore::Writing> ChunkStore::begin_writing() {
    const std::lock_guard lock(writers_mutex_);
    if (writers_ == 0) {
        GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
        GOLDLINK_TRY(txn.put_meta(kUnclean, 1));
        GOLDLINK_TRY(txn.commit());
    }
    ++writers_;
    return Writing(*this);
}

ChunkStore::Writing::~Writing() {
    if (store_ == nullptr) return;
    if (auto ended = store_->end_writing(); !ended)
        log::warn("the image store could not be tidied, its next open will: {}",
                  ended.error().message);
}

Result<> ChunkStore::end_writing() {
    const std::lock_guard lock(writers_mutex_);
    if (--writers_ > 0) return {};
    GOLDLINK_TRY(sweep());
    GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
    {
        const std::lock_guard slots_lock(slots_mutex_);
        for (const std::uint64_t slot : std::exchange(given_back_, {}))
            GOLDLINK_TRY(free_slots_.contains(slot) ? txn.put_free(slot) : txn.erase_free(slot));
        GOLDLINK_TRY(txn.put_meta(kNextSlot, next_slot_));
    }
    GOLDLINK_TRY(txn.put_meta(kUnclean, 0));
    return txn.commit();
}

Result<> ChunkStore::sweep() {
    for (bool more = true; more;) GOLDLINK_TRY(sweep_some(more));
    return {};
}

Result<> ChunkStore::sweep_some(bool& more) {
    std::vector<std::uint64_t> freed;
    {
        GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
        GOLDLINK_TRY_ASSIGN(const auto orphans, txn.orphans(kSweepBatch));
        more = orphans.size() == kSweepBatch;
        if (orphans.empty()) return {};
        for (const Digest& digest : orphans) {
            GOLDLINK_TRY(txn.erase_orphan(digest));
            GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(digest));
            if (!record || record->version_count > 0) continue;
            GOLDLINK_TRY(txn.erase_chunk(digest));
            GOLDLINK_TRY(txn.put_free(record->slot));
            freed.push_back(record->slot);
        }
        GOLDLINK_TRY(txn.commit());
    }
    std::sort(freed.begin(), freed.end());
    GOLDLINK_TRY(punch_all(packs_, freed));
    const std::lock_guard lock(slots_mutex_);
    free_slots_.insert(freed.begin(), freed.end());
    return {};
}

std::uint64_t ChunkStore::take_slot() {
    const std::lock_guard lock(slots_mutex_);
    if (free_slots_.empty()) return next_slot_++;
    return free_slots_.extract(free_slots_.begin()).value();
}

void ChunkStore::give_back(const std::vector<std::uint64_t>& slots) {
    // Not punched under the lock; a failure to punch costs space until the slot is used again.
    std::vector<std::uint64_t> sorted = slots;
    std::sort(sorted.begin(), sorted.end());
    if (auto punched = punch_all(packs_, sorted); !punched)
        log::warn("space of an ended import stays taken for now: {}", punched.error().message);
    const std::lock_guard lock(slots_mutex_);
    free_slots_.insert(sorted.begin(), sorted.end());
    given_back_.insert(given_back_.end(), sorted.begin(), sorted.end());
    while (!free_slots_.empty() && *free_slots_.rbegin() + 1 == next_slot_) {
        free_slots_.erase(std::prev(free_slots_.end()));
        given_back_.push_back(--next_slot_);
    }
}

std::uint64_t ChunkStore::next_slot() const {
    const std::lock_guard lock(slots_mutex_);
    return next_slot_;
}

}  // namespace goldlink::store
