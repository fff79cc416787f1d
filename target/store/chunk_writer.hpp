// ChunkWriter: one import or commit adding its chunks to the store and turning them into a version.
//
// store() may be called by several threads at once; chunks that exist already cost a hash and a
// look-up. Every kBatchChunks new chunks are synced and recorded as orphans, which bounds memory.
// A chunk that exists but is bad is written again into its slot, read back from the disk, and good
// from then on. A writer destroyed before finish() succeeded leaves nothing behind but what it
// mended.
#pragma once

#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"
#include "target/store/space_account.hpp"

namespace goldlink::store {

class ChunkWriter {
  public:
    static constexpr std::size_t kBatchChunks = 16384;  // 1 GiB

    // New chunks come out of `space`; without it until the disk is full.
    static Result<std::unique_ptr<ChunkWriter>> begin(
        ChunkStore& store, std::optional<SpaceClaim> space = std::nullopt);
    // One that mends bad chunks and stores nothing else.
    static Result<std::unique_ptr<ChunkWriter>> begin_mending(ChunkStore& store);
    ~ChunkWriter();

    Result<Digest> store(const std::uint8_t* chunk, Hasher& hasher);  // kChunkBytes
    // Makes durable, and good where it was bad, what came so far. Before finish(), and under no
    // lock of the store's: open versions are told of what is mended.
    Result<> flush() { return record_batch(); }
    // That many new chunks are to come; refused when there is no space for them.
    Result<> expect(std::uint64_t chunks);
    std::uint64_t mended_chunks() const { return mended_chunks_; }  // by flush()
    // Makes the version of `manifest` durable, whose chunks all came from store() and were flushed,
    // or are of a version that the caller holds open. A version that exists already is left as it
    // is.
    Result<VersionRecord> finish(const Manifest& manifest, const Digest& digest,
                                 const std::filesystem::path& manifest_file);

  private:
    ChunkWriter(ChunkStore& store, ChunkStore::Writing writing, bool mend_only,
                std::optional<SpaceClaim> space)
        : store_(store),
          writing_(std::move(writing)),
          mend_only_(mend_only),
          space_(std::move(space)) {}

    Result<> record_batch();
    Result<> sync_batch();
    Result<> record_mended();

    ChunkStore& store_;
    ChunkStore::Writing writing_;
    std::shared_mutex batch_mutex_;  // shared: adding to the batch; unique: recording it
    const bool mend_only_;
    std::mutex mutex_;  // guards batch_, mended_ and space_
    std::unordered_map<Digest, std::uint64_t, DigestHash> batch_;   // new chunk -> slot
    std::unordered_map<Digest, std::uint64_t, DigestHash> mended_;  // written again, -> slot
    std::optional<SpaceClaim> space_;
    std::uint64_t mended_chunks_ = 0;
};

}  // namespace goldlink::store
