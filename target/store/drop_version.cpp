#include "target/store/drop_version.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "common/log.hpp"

namespace goldlink::store {

namespace {

// How many versions use a chunk, and the XOR of their numbers.
struct Uses {
    std::uint32_t count = 0;
    std::uint32_t numbers_xor = 0;
};

Result<> drop(ChunkIndex::Transaction txn, const Digest& digest, const VersionRecord& record,
              const std::vector<Digest>& chunks) {
    std::map<std::uint32_t, std::uint64_t> now_alone;  // version number -> chunks
    for (const Digest& chunk : chunks) {
        GOLDLINK_TRY_ASSIGN(const auto found, txn.chunk(chunk));
        if (!found || found->version_count == 0) continue;  // lost earlier: nothing to give back
        ChunkRecord updated = *found;
        --updated.version_count;
        updated.versions_xor ^= record.number;
        if (updated.version_count == 0) GOLDLINK_TRY(txn.put_orphan(chunk));
        if (updated.version_count == 1) ++now_alone[updated.versions_xor];
        GOLDLINK_TRY(txn.put_chunk(chunk, updated));
    }
    GOLDLINK_TRY(txn.erase_version(digest));
    GOLDLINK_TRY(txn.put_pending(digest));  // its manifest is yet to go
    GOLDLINK_TRY(txn.erase_verified(digest));
    if (!now_alone.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto versions, txn.versions());
        for (const auto& [other, other_record] : versions) {
            const auto gained = now_alone.find(other_record.number);
            if (gained == now_alone.end()) continue;
            VersionRecord updated = other_record;
            updated.unique_chunks += gained->second;
            GOLDLINK_TRY(txn.put_version(other, updated));
        }
    }
    return txn.commit();
}

Result<VersionRecord> record_of(const ChunkIndex::Transaction& txn, const Digest& digest) {
    GOLDLINK_TRY_ASSIGN(const auto record, txn.version(digest));
    if (!record)
        return failure(ErrorKind::not_found, "the image store has no version " + to_hex(digest));
    return *record;
}

}  // namespace

Result<> drop_version(ChunkIndex& index, const Digest& digest, const Manifest& manifest) {
    GOLDLINK_TRY_ASSIGN(auto txn, index.begin_write());
    GOLDLINK_TRY_ASSIGN(const VersionRecord record, record_of(txn, digest));
    return drop(std::move(txn), digest, record, manifest.distinct_chunks());
}

Result<> drop_lost_version(ChunkIndex& index, const Digest& digest,
                           const std::function<Result<Manifest>(const Digest&)>& read_manifest) {
    GOLDLINK_TRY_ASSIGN(auto txn, index.begin_write());  // until the end no version comes or goes
    GOLDLINK_TRY_ASSIGN(const VersionRecord record, record_of(txn, digest));
    std::vector<Digest> chunks;
    std::unordered_map<Digest, Uses, DigestHash> shared;
    GOLDLINK_TRY(txn.for_each_chunk([&](const Digest& chunk, const ChunkRecord& found) -> Result<> {
        if (found.version_count > 1)
            shared[chunk] = {found.version_count, found.versions_xor};
        else if (found.version_count == 1 && found.versions_xor == record.number)
            chunks.push_back(chunk);
        return {};
    }));
    Uses lost{1, record.number};  // the versions whose manifests are lost
    GOLDLINK_TRY_ASSIGN(const auto versions, txn.versions());
    for (const auto& [other, other_record] : versions) {
        if (other == digest) continue;
        const auto manifest = read_manifest(other);
        if (!manifest) {
            ++lost.count;
            lost.numbers_xor ^= other_record.number;
            continue;
        }
        for (const Digest& chunk : manifest->distinct_chunks()) {
            const auto found = shared.find(chunk);
            if (found == shared.end() || found->second.count == 0) continue;
            --found->second.count;
            found->second.numbers_xor ^= other_record.number;
        }
    }
    std::uint64_t undecided = 0;
    for (const auto& [chunk, rest] : shared) {
        // `rest` are lost versions: none, one, all, all but one, or it cannot be said which.
        const bool is_one = rest.count == 1 && rest.numbers_xor == record.number;
        const bool all_but_another =
            rest.count + 1 == lost.count && (rest.numbers_xor ^ lost.numbers_xor) != record.number;
        if (rest.count > 0 && (is_one || rest.count == lost.count || all_but_another))
            chunks.push_back(chunk);
        else if (rest.count > 1 && rest.count + 1 < lost.count)
            ++undecided;
    }
    if (undecided > 0)
        log::warn(
            "{} chunks of version {} keep their space: its manifest and those of {} other "
            "versions are lost, so nothing says which of them used these",
            undecided, to_hex(digest), lost.count - 1);
    std::sort(chunks.begin(), chunks.end());
    return drop(std::move(txn), digest, record, chunks);
}

}  // namespace goldlink::store
