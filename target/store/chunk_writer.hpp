// ChunkWriter: one import or commit adding its chunks to the store and turning them into a version.
//
// store() may be called by several threads at once; chunks that exist already cost a hash and a
// look-up. Every kBatchChunks new chunks are synced and recorded as orphans, which bounds memory.
// A writer destroyed before finish() succeeded leaves nothing behind.
#pragma once

#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "target/store/chunk_store.hpp"
#include "target/store/manifest.hpp"

namespace goldlink::store {

class ChunkWriter {
  public:
    static constexpr std::size_t kBatchChunks = 16384;  // 1 GiB

    static Result<std::unique_ptr<ChunkWriter>> begin(ChunkStore& store);
    ~ChunkWriter();

    Result<Digest> store(const std::uint8_t* chunk, Hasher& hasher);  // kChunkBytes
    Result<> flush() { return record_batch(); }  // what store() took so far is in the index
    // Makes the version of `manifest` durable, whose chunks all came from store() or from a version
    // that the caller holds open. A version that exists already is left as it is.
    Result<VersionRecord> finish(const Manifest& manifest, const Digest& digest,
                                 const std::filesystem::path& manifest_file);

  private:
    ChunkWriter(ChunkStore& store, ChunkStore::Writing writing)
        : store_(store), writing_(std::move(writing)) {}

    Result<> record_batch();

    ChunkStore& store_;
    ChunkStore::Writing writing_;
    std::shared_mutex batch_mutex_;  // shared: adding to the batch; unique: recording it
    std::mutex mutex_;               // guards batch_
    std::unordered_map<Digest, std::uint64_t, DigestHash> batch_;  // new chunk -> slot
};

}  // namespace goldlink::store
