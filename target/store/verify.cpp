#include "target/store/verify.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <unordered_set>

#include "common/file.hpp"

namespace goldlink::store {

namespace {

// Reads slots of packs without the page cache, which may hold a good copy of a bad disk block.
class DirectReader {
  public:
    explicit DirectReader(ChunkStore& store)
        : store_(store),
          buffer_(static_cast<std::uint8_t*>(std::aligned_alloc(4096, kChunkBytes)), std::free) {}

    Result<> read(std::uint64_t slot) {
        const std::uint64_t number = slot / kSlotsPerPack;
        if (number != pack_number_ || !pack_) {
            GOLDLINK_TRY_ASSIGN(pack_, store_.packs().pack_of_slot(slot, false));
            pack_number_ = number;
            // Opened anew: O_DIRECT on the shared description would change it for every reader.
            direct_ =
                FileDescriptor(::open(("/proc/self/fd/" + std::to_string(pack_->read)).c_str(),
                                      O_RDONLY | O_DIRECT | O_CLOEXEC));
        }
        const auto offset = static_cast<off_t>((slot % kSlotsPerPack) * kChunkBytes);
        if (direct_ && ::pread(direct_.get(), buffer_.get(), kChunkBytes, offset) ==
                           static_cast<ssize_t>(kChunkBytes))
            return {};
        return store_.packs().read(slot, buffer_.get());
    }
    Bytes chunk() const { return {buffer_.get(), kChunkBytes}; }

  private:
    ChunkStore& store_;
    std::unique_ptr<std::uint8_t, decltype(&std::free)> buffer_;
    std::uint64_t pack_number_ = 0;
    std::shared_ptr<const PackFile> pack_;
    FileDescriptor direct_;
};

}  // namespace

Result<std::vector<Digest>> corrupt_chunks(const Manifest& manifest, ChunkStore& store,
                                           Progress& progress) {
    std::vector<Digest> corrupt;
    std::unordered_set<Digest, DigestHash> seen;
    Hasher hasher;
    DirectReader reader(store);
    progress.total_bytes = manifest.size_bytes;
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the verification was cancelled");
        const Digest& digest = manifest.chunks[i];
        if (!is_zero(digest) && seen.insert(digest).second) {
            std::optional<ChunkRecord> record;
            {
                GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
                GOLDLINK_TRY_ASSIGN(record, txn.chunk(digest));
            }
            if (!record || !reader.read(record->slot) || hasher.hash(reader.chunk()) != digest)
                corrupt.push_back(digest);
        }
        progress.done_bytes = std::min<std::uint64_t>((i + 1) * kChunkBytes, manifest.size_bytes);
    }
    return corrupt;
}

void add_uses(std::map<Digest, VerifyFinding>& findings, const std::string& version_digest,
              const Manifest& manifest) {
    for (std::size_t i = 0; i < manifest.chunks.size(); ++i) {
        if (is_zero(manifest.chunks[i])) continue;
        const auto found = findings.find(manifest.chunks[i]);
        if (found == findings.end() || found->second.uses.size() >= kMaxUsesReported) continue;
        found->second.uses.push_back({version_digest, i * kChunkBytes});
    }
}

Result<> drop_version(ChunkIndex& index, const Digest& digest, const Manifest& manifest) {
    GOLDLINK_TRY_ASSIGN(auto txn, index.begin_write());
    GOLDLINK_TRY_ASSIGN(const auto record, txn.version(digest));
    if (!record)
        return failure(ErrorKind::not_found, "the image store has no version " + to_hex(digest));
    std::vector<Digest> chunks = manifest.chunks;
    std::erase_if(chunks, [](const Digest& chunk) { return is_zero(chunk); });
    std::sort(chunks.begin(), chunks.end());
    chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
    std::map<std::uint32_t, std::uint64_t> now_alone;  // version number -> chunks
    for (const Digest& chunk : chunks) {
        GOLDLINK_TRY_ASSIGN(const auto found, txn.chunk(chunk));
        if (!found || found->version_count == 0) continue;  // lost earlier: nothing to give back
        ChunkRecord updated = *found;
        --updated.version_count;
        updated.versions_xor ^= record->number;
        if (updated.version_count == 0) GOLDLINK_TRY(txn.put_orphan(chunk));
        if (updated.version_count == 1) ++now_alone[updated.versions_xor];
        GOLDLINK_TRY(txn.put_chunk(chunk, updated));
    }
    GOLDLINK_TRY(txn.erase_version(digest));
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

}  // namespace goldlink::store
