// DiskSnapshot: what a link's disk held at one moment, while its client goes on writing: as after a
// power cut at that moment, except that nothing acknowledged is missing. Taken by
// LinkDisk::take_snapshot.
//
// Made and destroyed on the disk's reactor, the disk must outlive it; read on any one thread that
// may block. Until it is destroyed, blocks that the client overwrites or gives up keep their slots,
// which counts as used space. It is not persisted: with the process it is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "target/disk/overlay.hpp"
#include "target/store/version_diff.hpp"

namespace goldlink::disk {

using store::ChunkBlocks;

class DiskSnapshot {
  public:
    DiskSnapshot(Overlay& overlay, std::shared_ptr<const store::Version> version);
    ~DiskSnapshot();
    DiskSnapshot(const DiskSnapshot&) = delete;
    DiskSnapshot& operator=(const DiskSnapshot&) = delete;

    const store::Version& version() const { return *version_; }

    // Blocks that are not the version's, by ascending chunk: written, or zeroed where the version
    // is not zero.
    std::vector<ChunkBlocks> changed() const;

    // Blocks that have a slot, which is what counts as the overlay's used space.
    std::vector<ChunkBlocks> stored() const;

    // Makes an overlay in `folder` of what changed() says and no other block, over another version
    // (Overlay::carry, which says when).
    Result<> carry_over(const store::Version& over, const std::filesystem::path& folder) const;

    // Fills a chunk (kChunkBytes; zeros past the disk's end). `read_base` fills the version's, and
    // is asked only when a block of it is needed.
    using ReadBase = std::function<Result<>(std::uint64_t chunk, std::uint8_t* data)>;
    Result<> read_chunk(std::uint64_t chunk, std::uint8_t* data, const ReadBase& read_base) const;

  private:
    // Blocks of which `wanted` says so, that are not the version's.
    template <typename Wanted>
    std::vector<ChunkBlocks> select(Wanted&& wanted) const;

    Overlay& overlay_;
    const std::shared_ptr<const store::Version> version_;
    const FrozenMap& map_;
};

}  // namespace goldlink::disk
