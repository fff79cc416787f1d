// What a store holds that nothing needs, and what comes back when versions go.
// Threads: any; a Releases stays on one.
#pragma once

#include <string>
#include <vector>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"

namespace goldlink::store {

struct StoreGarbage {
    // Of the versions asked about, in their order: the bytes that come back when it goes after
    // those before it, or why it cannot go.
    std::vector<Result<std::uint64_t>> versions;
    std::vector<LeftFile> manifests;    // that no version has
    std::uint64_t orphan_chunks = 0;    // that no version refers to, nor is about to
    std::uint64_t free_slot_bytes = 0;  // that free slots of the packs still take
    std::vector<LeftFile> packs;        // at the end, without a chunk
};

// Which chunks are free when some versions have gone.
class Releases {
  public:
    explicit Releases(ChunkStore& store) : store_(store) {}

    // The version goes too. Returns the bytes of chunks that nobody has then.
    Result<std::uint64_t> add(const Manifest& manifest);
    const std::vector<bool>& slots() const { return freed_; }  // by slot

  private:
    ChunkStore& store_;
    std::vector<std::uint16_t> gone_;  // by slot: of its chunk's versions, how many went
    std::vector<bool> freed_;
};

}  // namespace goldlink::store
