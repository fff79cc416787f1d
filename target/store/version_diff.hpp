// What two versions differ in: chunks by their manifests, which costs no reading, and within one
// chunk the blocks of 4 KiB. What lies past the end of the shorter one counts as zeros.
#pragma once

#include <cstdint>
#include <vector>

#include "target/store/partitions.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::store {

inline constexpr std::uint64_t kDiffBlockBytes = 4096;

// Blocks of one chunk: bit n is its block n of 4 KiB.
struct ChunkBlocks {
    std::uint64_t chunk = 0;
    std::uint16_t blocks = 0;
};

// Ascending.
std::vector<std::uint64_t> differing_chunks(const Manifest& one, const Manifest& other);

// Which blocks of the chunk differ. Reads it of both, checked; blocks.
Result<std::uint16_t> differing_blocks(const VersionReader& one, const VersionReader& other,
                                       std::uint64_t chunk);

// What somebody changed over `base`, compared with what `other`, a version made of the same base,
// changed.
struct Overlap {
    static constexpr std::size_t kMaxRanges = 100;
    // More chunks than these, changed on both sides, are not read: their blocks count as changed.
    static constexpr std::size_t kMaxChunksRead = 4096;

    struct Range {
        std::uint64_t offset_bytes = 0;
        std::uint64_t length_bytes = 0;
    };
    std::uint64_t mine_bytes = 0;    // changed over the base
    std::uint64_t theirs_bytes = 0;  // chunks that the other version changed
    std::uint64_t both_bytes = 0;    // changed by both, to whatever
    std::uint64_t range_count = 0;   // runs of such blocks
    std::vector<Range> ranges;       // the first kMaxRanges
    bool exact = true;               // false: `both` may say too much

    // Partitions that both changed, if in different places, by the tables of both versions. Number
    // 0: outside of them, or a disk without a table, as a whole.
    struct Shared {
        Partition partition;
        std::uint64_t mine_bytes = 0, theirs_bytes = 0;
    };
    std::vector<Shared> shared;
};
Result<Overlap> overlap_of(const std::vector<ChunkBlocks>& mine, const VersionReader& base,
                           const VersionReader& other, Progress& progress,
                           std::uint32_t logical_block_bytes = 512);

}  // namespace goldlink::store
