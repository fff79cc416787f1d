#include "target/store/chunk_writer.hpp"

#include <algorithm>
#include <map>

#include "common/log.hpp"
#include "target/store/chunk_check.hpp"
#include "target/store/manifest_file.hpp"

namespace goldlink::store {

Result<std::unique_ptr<ChunkWriter>> ChunkWriter::begin(ChunkStore& store,
                                                        std::optional<SpaceClaim> space) {
    GOLDLINK_TRY_ASSIGN(auto writing, store.begin_writing());
    return std::unique_ptr<ChunkWriter>(
        new ChunkWriter(store, std::move(writing), false, std::move(space)));
}

Result<std::unique_ptr<ChunkWriter>> ChunkWriter::begin_mending(ChunkStore& store) {
    GOLDLINK_TRY_ASSIGN(auto writing, store.begin_writing());
    return std::unique_ptr<ChunkWriter>(
        new ChunkWriter(store, std::move(writing), true, std::nullopt));
}

ChunkWriter::~ChunkWriter() {
    std::vector<std::uint64_t> unrecorded;
    for (const auto& [digest, slot] : batch_) unrecorded.push_back(slot);
    store_.give_back(unrecorded);
}

Result<Digest> ChunkWriter::store(const std::uint8_t* chunk, Hasher& hasher) {
    const Bytes bytes(chunk, kChunkBytes);
    if (all_zero(bytes)) return Digest{};
    const Digest digest = hasher.hash(bytes);
    bool full = false;
    {
        const std::shared_lock batch_lock(batch_mutex_);
        std::uint64_t slot = 0;
        {
            const std::lock_guard lock(mutex_);
            if (batch_.contains(digest) || mended_.contains(digest)) return digest;
            GOLDLINK_TRY_ASSIGN(const auto txn, store_.index().begin_read());
            GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(digest));
            const bool bad_list = !store_.bad_chunks().empty();
            std::optional<BadRecord> bad;
            if (bad_list) {
                GOLDLINK_TRY_ASSIGN(bad, txn.bad(digest));
            }
            if ((known || mend_only_) && !bad) return digest;
            if (!known && space_) GOLDLINK_TRY(space_->spend(kChunkBytes));
            slot = known ? known->slot : store_.take_slot();
            (known ? mended_ : batch_).emplace(digest, slot);
            full = batch_.size() + mended_.size() >= kBatchChunks;
        }
        GOLDLINK_TRY(store_.packs().write(slot, chunk));
    }
    if (full) GOLDLINK_TRY(record_batch());
    return digest;
}

Result<> ChunkWriter::expect(std::uint64_t chunks) {
    const std::lock_guard lock(mutex_);
    return space_ ? space_->ensure(chunks * kChunkBytes) : Result<>();
}

Result<> ChunkWriter::record_batch() {
    const std::unique_lock batch_lock(batch_mutex_);
    if (batch_.empty() && mended_.empty()) return {};
    GOLDLINK_TRY(sync_batch());
    GOLDLINK_TRY(record_mended());
    if (batch_.empty()) return {};

    std::vector<ChunkPlace> found_again;  // the index had lost them
    const std::map<Digest, std::uint64_t> sorted(batch_.begin(), batch_.end());
    std::vector<std::uint64_t> duplicates;  // another writer recorded the same chunk first
    GOLDLINK_TRY_ASSIGN(auto txn, store_.index().begin_write());
    for (const auto& [digest, slot] : sorted) {
        GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(digest));
        if (known) {
            duplicates.push_back(slot);
            continue;
        }
        GOLDLINK_TRY(txn.put_chunk(digest, {slot, 0, 0}));
        GOLDLINK_TRY(txn.put_orphan(digest));
        GOLDLINK_TRY(txn.erase_free(slot));
        found_again.push_back({digest, location_of_slot(slot)});
    }
    for (const std::uint64_t slot : duplicates) GOLDLINK_TRY(txn.put_free(slot));
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextSlot, store_.next_slot()));
    GOLDLINK_TRY(txn.commit());
    batch_.clear();
    store_.give_back(duplicates);
    const std::uint64_t bad_before = store_.bad_chunks().count();
    GOLDLINK_TRY(store_.bad_chunks().clear(found_again));
    mended_chunks_ += bad_before - std::min(bad_before, store_.bad_chunks().count());
    return {};
}

Result<> ChunkWriter::sync_batch() {
    std::vector<std::uint64_t> slots;
    for (const auto* chunks : {&batch_, &mended_})
        for (const auto& [digest, slot] : *chunks) slots.push_back(slot);
    return store_.packs().sync(slots);
}

// Good again is what the disk gives back. The rest stays bad.
Result<> ChunkWriter::record_mended() {
    std::vector<ChunkPlace> good;
    ChunkCheck check(store_.index(), store_.packs());
    for (const auto& [digest, slot] : mended_) {
        if (auto read = check.read_back(slot, digest); !read) {
            log::error("chunk {} cannot be mended: {}", to_hex(digest), read.error().message);
            continue;
        }
        store_.packs().forget_resident(slot);
        good.push_back({digest, location_of_slot(slot)});
    }
    GOLDLINK_TRY(store_.bad_chunks().clear(good));
    mended_chunks_ += good.size();
    mended_.clear();
    return {};
}

Result<VersionRecord> ChunkWriter::finish(const Manifest& manifest, const Digest& digest,
                                          const std::filesystem::path& manifest_file) {
    {  // durable before the manifest's file is there: else nobody could say what that is
        GOLDLINK_TRY_ASSIGN(auto txn, store_.index().begin_write());
        GOLDLINK_TRY_ASSIGN(const auto existing, txn.version(digest));
        if (existing) return *existing;
        GOLDLINK_TRY(txn.put_pending(digest));
        GOLDLINK_TRY(txn.commit());
    }
    GOLDLINK_TRY_ASSIGN(auto txn, store_.index().begin_write());
    GOLDLINK_TRY_ASSIGN(const std::uint64_t last_number, txn.meta(ChunkIndex::kNextVersion));
    VersionRecord record;
    record.number = static_cast<std::uint32_t>(last_number + 1);
    record.size_bytes = manifest.size_bytes;
    record.stored_chunks = manifest.stored_chunks();
    std::map<std::uint32_t, std::uint64_t> no_longer_alone;  // version number -> chunks
    for (const Digest& chunk : manifest.distinct_chunks()) {
        GOLDLINK_TRY_ASSIGN(const auto found, txn.chunk(chunk));
        if (!found)
            return failure(
                ErrorKind::corrupt,
                "chunk " + to_hex(chunk) + " left the store while a version was made of it");
        ChunkRecord updated = *found;
        if (updated.version_count == 0) {
            ++record.unique_chunks;
            GOLDLINK_TRY(txn.erase_orphan(chunk));
        } else if (updated.version_count == 1) {
            ++no_longer_alone[updated.versions_xor];
        }
        ++updated.version_count;
        updated.versions_xor ^= record.number;
        GOLDLINK_TRY(txn.put_chunk(chunk, updated));
    }
    if (!no_longer_alone.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto versions, txn.versions());
        for (const auto& [other, other_record] : versions) {
            const auto lost = no_longer_alone.find(other_record.number);
            if (lost == no_longer_alone.end()) continue;
            VersionRecord updated = other_record;
            updated.unique_chunks -= std::min(updated.unique_chunks, lost->second);
            GOLDLINK_TRY(txn.put_version(other, updated));
        }
    }
    GOLDLINK_TRY(txn.put_version(digest, record));
    GOLDLINK_TRY(txn.erase_pending(digest));
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextVersion, record.number));
    GOLDLINK_TRY(write_manifest_file(store_.storage(), manifest_file,
                                     manifest));  // durable before the index names it
    GOLDLINK_TRY(txn.commit());
    return record;
}

}  // namespace goldlink::store
