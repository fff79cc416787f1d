// BadChunks: which chunks must not be read, because what their slots hold is not what it should be.
// Kept in the index, so that it outlives a restart; told to the open versions through `on_change`
// before mark() and clear() return.
//
// Both take turns, and mark() looks at each chunk a last time in its turn: a chunk that was mended
// since it was found bad is not marked. Threads: any; has() and empty() wait for nobody.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

#include "target/store/chunk_index.hpp"

namespace goldlink::store {

class Packs;

// A chunk and where it is: kLostChunk when the index does not say.
struct ChunkPlace {
    Digest digest;
    ChunkLocation location = kLostChunk;
};

class BadChunks {
  public:
    BadChunks(ChunkIndex& index, Packs& packs) : index_(index), packs_(packs) {}

    Result<> load();
    bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }
    std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
    // Counts the changes: what was worked out of the list before is out of date.
    std::uint64_t revision() const { return revision_.load(std::memory_order_acquire); }
    Result<bool> has(const Digest& digest) const;
    Result<std::vector<std::pair<Digest, BadRecord>>> all() const;

    // Of `suspects` those that are bad indeed are so from now on. Returns them.
    Result<std::vector<Digest>> mark(const std::vector<Digest>& suspects);
    // Without looking: the caller knows.
    Result<> mark_known(const std::vector<std::pair<ChunkPlace, BadReason>>& chunks);
    // Their bytes are right again, and durable.
    Result<> clear(const std::vector<ChunkPlace>& chunks);
    // Likewise, of chunks that read right: who mended them may have been killed before he had made
    // that durable, so it is made so first.
    Result<> clear_read_right(const std::vector<ChunkPlace>& chunks);
    // A chunk leaves the index in `txn`: whether it was bad. forgotten() after the commit.
    Result<bool> forget(ChunkIndex::Transaction& txn, const Digest& digest);
    void forgotten(std::size_t count);

    std::function<void(const std::vector<ChunkPlace>& chunks, bool bad)> on_change;

  private:
    Result<> record(const std::vector<std::pair<ChunkPlace, BadReason>>& chunks);
    void recount(std::int64_t change);

    ChunkIndex& index_;
    Packs& packs_;
    std::mutex mutex_;
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> revision_{0};
};

}  // namespace goldlink::store
