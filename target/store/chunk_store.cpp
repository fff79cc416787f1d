#include "target/store/chunk_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "common/file.hpp"
#include "common/log.hpp"
#include "target/store/chunk_check.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kSweepBatch = 4096;

// Punches ascending slots, neighbours in one go. What cannot be punched costs space until its slot
// is used again, nothing else.
void punch_all(Packs& packs, const std::vector<std::uint64_t>& slots) {
    for (std::size_t i = 0; i < slots.size();) {
        std::size_t end = i + 1;
        while (end < slots.size() && slots[end] == slots[end - 1] + 1) ++end;
        if (auto punched = packs.punch(slots[i], end - i); !punched)
            log::warn("space of chunks that left stays taken for now: {}", punched.error().message);
        i = end;
    }
}

}  // namespace

Result<std::unique_ptr<ChunkStore>> ChunkStore::open(const std::filesystem::path& folder,
                                                     std::unique_ptr<ChunkIndex> index,
                                                     std::uint64_t resident_budget_bytes,
                                                     Storage& storage,
                                                     std::optional<Error> refusal) {
    const auto packs = folder / "packs";
    if (const int error = storage.make_folder(packs); error < 0)
        return system_failure(fmt::format("cannot create folder {}", packs.string()), -error);
    std::unique_ptr<ChunkStore> store(new ChunkStore(storage, packs, resident_budget_bytes,
                                                     std::move(index), std::move(refusal)));
    GOLDLINK_TRY(store->load());
    return store;
}

Result<> ChunkStore::load() {
    std::uint64_t unclean = 0;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, index_->begin_read());
        GOLDLINK_TRY_ASSIGN(unclean, txn.meta(ChunkIndex::kUnclean));
        GOLDLINK_TRY_ASSIGN(next_slot_, txn.meta(ChunkIndex::kNextSlot));
        GOLDLINK_TRY(txn.for_each_free([this](std::uint64_t slot) {
            if (slot < next_slot_) free_slots_.insert(free_slots_.end(), slot);
        }));
    }
    if (unclean != 0 && !refusal_) GOLDLINK_TRY(recover());
    GOLDLINK_TRY(bad_chunks_.load());
    return check_packs();
}

// Opens every pack, so that one that goes missing from here on is still there for us, and looks
// whether it has all that was written to it.
Result<> ChunkStore::check_packs() {
    struct Trouble {
        BadReason reason;
        std::uint64_t slots;  // that are there
        std::uint64_t needed = 0;
    };
    std::map<std::uint64_t, Trouble> troubles;
    for (std::uint64_t first = 0; first < next_slot_; first += kSlotsPerPack) {
        const std::uint64_t expected = std::min(next_slot_ - first, kSlotsPerPack);
        const auto pack = packs_.pack_of_slot(first, false);
        if (!pack) {
            const int code = pack.error().errno_value;
            if (code == EMFILE || code == ENFILE || code == ENOMEM) return Failure(pack.error());
            troubles[first / kSlotsPerPack] = {reason_of(pack.error()), 0, 0};
            continue;
        }
        const std::int64_t size = storage_.size((*pack)->read);
        if (size < 0)
            return system_failure("cannot examine a pack of the image store",
                                  static_cast<int>(-size));
        const auto slots = static_cast<std::uint64_t>(size) / kChunkBytes;
        if (slots < expected) troubles[first / kSlotsPerPack] = {BadReason::file_short, slots, 0};
    }
    if (troubles.empty()) return {};
    std::vector<std::pair<ChunkPlace, BadReason>> bad;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, index_->begin_read());
        GOLDLINK_TRY(
            txn.for_each_chunk([&](const Digest& digest, const ChunkRecord& record) -> Result<> {
                auto trouble = troubles.find(record.slot / kSlotsPerPack);
                const std::uint64_t in_pack = record.slot % kSlotsPerPack;
                if (trouble == troubles.end() || in_pack < trouble->second.slots) return {};
                // A slot that waits for its chunk (store_rebuild.hpp) is nobody's loss.
                GOLDLINK_TRY_ASSIGN(const auto known, txn.bad(digest));
                if (known && known->reason == BadReason::lost) return {};
                bad.push_back({{digest, location_of_slot(record.slot)}, trouble->second.reason});
                trouble->second.needed = std::max(trouble->second.needed, in_pack + 1);
                return {};
            }));
    }
    if (bad.empty()) return {};
    for (const auto& [number, trouble] : troubles)
        if (trouble.needed > 0)
            log::error("image store: {}", packs_.trouble_with(number, trouble.needed));
    return bad_chunks_.mark_known(bad);
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
        return failure(ErrorKind::corrupt, "names one slot for two chunks");
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
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextSlot, next_slot_));
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kUnclean, 0));
    GOLDLINK_TRY(txn.commit());
    punch_all(packs_, {free_slots_.begin(), free_slots_.end()});
    if (auto cut = packs_.truncate_from(next_slot_); !cut)
        log::warn("space of an import that did not end stays taken: {}", cut.error().message);
    return {};
}

Result<ChunkStore::Writing> ChunkStore::begin_writing() {
    if (refusal_) return Failure(*refusal_);
    const std::lock_guard lock(writers_mutex_);
    if (writers_ == 0) {
        GOLDLINK_TRY_ASSIGN(auto txn, index_->begin_write());
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kUnclean, 1));
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
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextSlot, next_slot_));
    }
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kUnclean, 0));
    return txn.commit();
}

Result<> ChunkStore::sweep() {
    for (bool more = true; more;) GOLDLINK_TRY(sweep_some(more));
    return {};
}

Result<> ChunkStore::sweep_some(bool& more) {
    std::vector<std::uint64_t> freed;
    std::size_t bad = 0;
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
            GOLDLINK_TRY_ASSIGN(const bool was_bad, bad_chunks_.forget(txn, digest));
            if (was_bad) ++bad;
            freed.push_back(record->slot);
        }
        GOLDLINK_TRY(txn.commit());
    }
    bad_chunks_.forgotten(bad);
    std::sort(freed.begin(), freed.end());
    punch_all(packs_, freed);
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
    // Not punched under the lock.
    std::vector<std::uint64_t> sorted = slots;
    std::sort(sorted.begin(), sorted.end());
    punch_all(packs_, sorted);
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
