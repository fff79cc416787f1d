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

namespace {

// Calls add(index, bytes) for what of the range lies in each partition; index size(): in none.
template <typename Add>
void split(const std::vector<Partition>& partitions, std::uint64_t offset, std::uint64_t length,
           Add&& add) {
    const std::uint64_t end = offset + length;
    auto at = std::partition_point(
        partitions.begin(), partitions.end(),
        [&](const Partition& each) { return each.offset_bytes + each.length_bytes <= offset; });
    for (; at != partitions.end() && at->offset_bytes < end; ++at) {
        if (at->offset_bytes > offset) add(partitions.size(), at->offset_bytes - offset);
        const std::uint64_t from = std::max(offset, at->offset_bytes);
        offset = std::min(end, at->offset_bytes + at->length_bytes);
        add(static_cast<std::size_t>(at - partitions.begin()), offset - from);
    }
    if (offset < end) add(partitions.size(), end - offset);
}

// A table that cannot be read is none.
std::vector<Partition> partitions_of(const VersionReader& version, std::uint32_t block_bytes) {
    std::vector<std::uint8_t> start(kChunkBytes);
    if (!version.read(0, start.data())) return {};
    return find_partitions(start, version.size_bytes(), block_bytes);
}

void add_shared(Overlap& found, const std::vector<Partition>& partitions,
                const std::vector<ChunkBlocks>& mine, const std::vector<std::uint64_t>& theirs,
                std::uint64_t disk_bytes) {
    std::vector<Overlap::Shared> sums(partitions.size() + 1);
    for (std::size_t i = 0; i < partitions.size(); ++i) sums[i].partition = partitions[i];
    sums.back().partition = {0, 0, disk_bytes};
    for (const ChunkBlocks& chunk : mine)
        for (unsigned block = 0; block < kBlocks; ++block)
            if (chunk.blocks >> block & 1)
                split(partitions, chunk.chunk * kChunkBytes + block * kDiffBlockBytes,
                      kDiffBlockBytes,
                      [&](std::size_t i, std::uint64_t bytes) { sums[i].mine_bytes += bytes; });
    for (const std::uint64_t chunk : theirs)
        split(partitions, chunk * kChunkBytes, kChunkBytes,
              [&](std::size_t i, std::uint64_t bytes) { sums[i].theirs_bytes += bytes; });
    for (Overlap::Shared& each : sums) {
        const bool is_new = std::none_of(
            found.shared.begin(), found.shared.end(),
            [&](const Overlap::Shared& other) { return other.partition == each.partition; });
        if (each.mine_bytes > 0 && each.theirs_bytes > 0 && is_new) found.shared.push_back(each);
    }
}

}  // namespace

Result<Overlap> overlap_of(const std::vector<ChunkBlocks>& mine, const VersionReader& base,
                           const VersionReader& other, Progress& progress,
                           std::uint32_t logical_block_bytes) {
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
    if (mine.empty() || theirs.empty()) return found;
    const auto before = partitions_of(base, logical_block_bytes);
    const auto after = partitions_of(other, logical_block_bytes);
    add_shared(found, before, mine, theirs, base.size_bytes());
    if (after != before) add_shared(found, after, mine, theirs, base.size_bytes());
    return found;
}

}  // namespace goldlink::store
