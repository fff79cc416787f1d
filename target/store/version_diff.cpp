#include "target/store/version_diff.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace goldlink::store {

namespace {
constexpr unsigned kBlocks = kChunkBytes / kDiffBlockBytes;
}  // namespace

std::vector<std::uint64_t> differing_chunks(const Manifest& one, const Manifest& other) {
    const auto chunk_of = [](const Manifest& manifest, std::uint64_t chunk) {
        return chunk < manifest.chunks.size() ? manifest.chunks[chunk] : Digest{};
    };
    std::vector<std::uint64_t> differing;
    const std::uint64_t count = std::max(one.chunks.size(), other.chunks.size());
    for (std::uint64_t chunk = 0; chunk < count; ++chunk)
        if (chunk_of(one, chunk) != chunk_of(other, chunk)) differing.push_back(chunk);
    return differing;
}

Result<std::uint16_t> differing_blocks(const VersionReader& one, const VersionReader& other,
                                       std::uint64_t chunk) {
    std::vector<std::uint8_t> a(kChunkBytes), b(kChunkBytes);
    GOLDLINK_TRY(one.read(chunk, a.data()));
    GOLDLINK_TRY(other.read(chunk, b.data()));
    unsigned blocks = 0;
    for (unsigned block = 0; block < kBlocks; ++block) {
        const std::size_t at = block * kDiffBlockBytes;
        if (std::memcmp(a.data() + at, b.data() + at, kDiffBlockBytes) != 0) blocks |= 1u << block;
    }
    return static_cast<std::uint16_t>(blocks);
}

Result<Overlap> overlap_of(const std::vector<ChunkBlocks>& mine, const VersionReader& base,
                           const VersionReader& other, Progress& progress) {
    Overlap found;
    const auto theirs = differing_chunks(base.manifest(), other.manifest());
    found.theirs_bytes = theirs.size() * kChunkBytes;
    std::uint64_t run_end = 0;  // of the range that may go on
    const auto add = [&](std::uint64_t offset) {
        found.both_bytes += kDiffBlockBytes;
        if (found.range_count == 0 || run_end != offset) {
            if (found.ranges.size() < Overlap::kMaxRanges) found.ranges.push_back({offset, 0});
            ++found.range_count;
        }
        run_end = offset + kDiffBlockBytes;
        if (found.range_count <= Overlap::kMaxRanges)
            found.ranges.back().length_bytes += kDiffBlockBytes;
    };
    std::size_t chunks_read = 0;
    auto their = theirs.begin();
    for (const ChunkBlocks& my : mine) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the comparison was cancelled");
        found.mine_bytes += static_cast<unsigned>(std::popcount(my.blocks)) * kDiffBlockBytes;
        their = std::lower_bound(their, theirs.end(), my.chunk);
        if (their == theirs.end() || *their != my.chunk) continue;
        std::uint16_t changed = 0xffff;
        if (chunks_read < Overlap::kMaxChunksRead) {
            ++chunks_read;
            GOLDLINK_TRY_ASSIGN(changed, differing_blocks(base, other, my.chunk));
        } else {
            found.exact = false;
        }
        for (unsigned block = 0; block < kBlocks; ++block)
            if ((my.blocks & changed) >> block & 1)
                add(my.chunk * kChunkBytes + block * kDiffBlockBytes);
    }
    return found;
}

}  // namespace goldlink::store
