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
    // is asked only when a block of it is needed. corrupt when a block does not hold what was
    // written: each is compared (under discard nothing says what it should be).
    using ReadBase = std::function<Result<>(std::uint64_t chunk, std::uint8_t* data)>;
    Result<> read_chunk(std::uint64_t chunk, std::uint8_t* data, const ReadBase& read_base) const;

    // Reads every block that has a slot and compares it, in runs; `on_run` gets what was found of
    // each and says whether to go on.
    struct Compared {
        std::vector<LinkDisk::CheckedBlock> read;
        std::uint64_t looked = 0;        // blocks
        std::vector<std::uint32_t> bad;  // blocks that are not what was written, or unreadable
    };
    Result<> compare_all(const std::function<Result<>(const Compared& found)>& on_run) const;
    // The same of whole chunks from `chunk` on, of `max_blocks` at most or of one chunk. `chunk` is
    // where to go on; chunk_count() is the end.
    Compared compare_some(std::uint64_t& chunk, std::uint32_t max_blocks) const;
    std::uint64_t chunk_count() const;

  private:
    Result<> check_run(std::uint64_t block, std::uint32_t slot, const std::uint8_t* data,
                       std::uint32_t count) const;
    // Blocks of which `wanted` says so, that are not the version's, of chunks from `chunk` on,
    // which is then where to go on: at the end, or where `max_blocks` were found.
    template <typename Wanted>
    std::vector<ChunkBlocks> select(Wanted&& wanted, std::uint64_t& chunk,
                                    std::uint64_t max_blocks) const;
    template <typename Wanted>
    std::vector<ChunkBlocks> select_all(Wanted&& wanted) const;

    Overlay& overlay_;
    const std::shared_ptr<const store::Version> version_;
    const FrozenMap& map_;
    const SlotChecks::View checks_;
};

}  // namespace goldlink::disk
