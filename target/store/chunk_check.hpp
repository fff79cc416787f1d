// ChunkCheck: is what the disk holds of a chunk what it should be? Reads past the page cache where
// the filesystem lets us, as memory may hold a good copy of a bad disk block; when it does, the
// block is written again from it. Used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "common/file.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/packs.hpp"

namespace goldlink::store {

class ChunkCheck {
  public:
    // `fault`, for tests: the errno with which the disk refuses to read a slot, 0 when it does not.
    using Fault = std::function<int(std::uint64_t slot)>;
    ChunkCheck(ChunkIndex& index, Packs& packs, Fault fault = nullptr);

    struct Answer {
        std::optional<BadReason> bad;  // nullopt: its bytes are right
        ChunkLocation location = kLostChunk;
    };
    // Fails only when the index cannot be read. A chunk that leaves the store meanwhile is not bad.
    Result<Answer> look_at(const Digest& digest);
    // Whether the slot's bytes on disk have this digest.
    Result<> read_back(std::uint64_t slot, const Digest& digest);

  private:
    Result<> read_disk(std::uint64_t slot);
    std::optional<BadReason> check_slot(std::uint64_t slot, const Digest& digest);
    bool rewrite_from_memory(std::uint64_t slot, const Digest& digest);
    Bytes chunk() const { return {buffer_.get(), kChunkBytes}; }

    ChunkIndex& index_;
    Packs& packs_;
    const Fault fault_;
    Hasher hasher_;
    std::unique_ptr<std::uint8_t, void (*)(void*)> buffer_;
    std::shared_ptr<const PackFile> pack_;
    FileDescriptor direct_;  // of pack_; not open where the filesystem cannot
};

// Why a chunk in a pack that failed so cannot be served.
BadReason reason_of(const Error& error);

}  // namespace goldlink::store
