#include "target/store/bad_chunks.hpp"

#include <ctime>

#include "target/store/chunk_check.hpp"

namespace goldlink::store {

std::string_view to_string(BadReason reason) {
    switch (reason) {
        case BadReason::corrupt:
            return "corrupt";
        case BadReason::unreadable:
            return "unreadable";
        case BadReason::file_missing:
            return "file-missing";
        case BadReason::file_short:
            return "file-cut-short";
        case BadReason::file_refused:
            return "file-refused";
        case BadReason::lost:
            return "lost";
    }
    return "corrupt";
}

Result<> BadChunks::load() {
    GOLDLINK_TRY_ASSIGN(const auto bad, all());
    count_ = bad.size();
    return {};
}

Result<bool> BadChunks::has(const Digest& digest) const {
    if (empty()) return false;
    GOLDLINK_TRY_ASSIGN(const auto txn, index_.begin_read());
    GOLDLINK_TRY_ASSIGN(const auto record, txn.bad(digest));
    return record.has_value();
}

Result<std::vector<std::pair<Digest, BadRecord>>> BadChunks::all() const {
    GOLDLINK_TRY_ASSIGN(const auto txn, index_.begin_read());
    return txn.all_bad();
}

void BadChunks::recount(std::int64_t change) {
    count_.fetch_add(static_cast<std::uint64_t>(change), std::memory_order_relaxed);
    revision_.fetch_add(1, std::memory_order_release);
}

Result<> BadChunks::record(const std::vector<std::pair<ChunkPlace, BadReason>>& chunks) {
    if (chunks.empty()) return {};
    const std::int64_t now = std::time(nullptr);
    std::vector<ChunkPlace> places;
    std::int64_t added = 0;
    {
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        for (const auto& [place, reason] : chunks) {
            GOLDLINK_TRY_ASSIGN(const auto known, txn.bad(place.digest));
            if (!known) ++added;
            GOLDLINK_TRY(txn.put_bad(place.digest, {reason, known ? known->since : now}));
            places.push_back(place);
        }
        GOLDLINK_TRY(txn.commit());
    }
    recount(added);
    if (on_change) on_change(places, true);
    return {};
}

Result<std::vector<Digest>> BadChunks::mark(const std::vector<Digest>& suspects) {
    std::vector<Digest> bad;
    if (suspects.empty()) return bad;
    const std::lock_guard lock(mutex_);
    ChunkCheck check(index_, packs_);
    std::vector<std::pair<ChunkPlace, BadReason>> chunks;
    for (const Digest& digest : suspects) {
        GOLDLINK_TRY_ASSIGN(const auto answer, check.look_at(digest));
        if (!answer.bad) continue;
        chunks.push_back({{digest, answer.location}, *answer.bad});
        bad.push_back(digest);
    }
    GOLDLINK_TRY(record(chunks));
    return bad;
}

Result<> BadChunks::mark_known(const std::vector<std::pair<ChunkPlace, BadReason>>& chunks) {
    const std::lock_guard lock(mutex_);
    return record(chunks);
}

Result<> BadChunks::clear(const std::vector<ChunkPlace>& chunks) {
    if (chunks.empty() || empty()) return {};
    const std::lock_guard lock(mutex_);
    std::int64_t removed = 0;
    std::vector<ChunkPlace> cleared;
    {
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        for (const ChunkPlace& place : chunks) {
            GOLDLINK_TRY_ASSIGN(const auto known, txn.bad(place.digest));
            if (!known) continue;
            GOLDLINK_TRY(txn.erase_bad(place.digest));
            cleared.push_back(place);
            ++removed;
        }
        GOLDLINK_TRY(txn.commit());
    }
    recount(-removed);
    if (on_change && !cleared.empty()) on_change(cleared, false);
    return {};
}

Result<> BadChunks::clear_read_right(const std::vector<ChunkPlace>& chunks) {
    std::vector<std::uint64_t> slots;
    for (const ChunkPlace& chunk : chunks)
        if (is_stored(chunk.location)) slots.push_back(slot_of_location(chunk.location));
    GOLDLINK_TRY(packs_.sync(slots));
    return clear(chunks);
}

Result<bool> BadChunks::forget(ChunkIndex::Transaction& txn, const Digest& digest) {
    if (empty()) return false;
    GOLDLINK_TRY_ASSIGN(const auto known, txn.bad(digest));
    if (!known) return false;
    GOLDLINK_TRY(txn.erase_bad(digest));
    return true;
}

void BadChunks::forgotten(std::size_t count) {
    if (count > 0) recount(-static_cast<std::int64_t>(count));
}

}  // namespace goldlink::store
