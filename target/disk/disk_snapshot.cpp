#include "target/disk/disk_snapshot.hpp"

#include <algorithm>
#include <cstring>

namespace goldlink::disk {

namespace {
constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / kBlockBytes;
static_assert(kChunkBlocks == 16, "a chunk's blocks are the bits of ChunkBlocks::blocks");
}  // namespace

DiskSnapshot::DiskSnapshot(Overlay& overlay, std::shared_ptr<const store::Version> version)
    : overlay_(overlay), version_(std::move(version)), map_(overlay.hold()) {}

DiskSnapshot::~DiskSnapshot() { overlay_.let_go(); }

template <typename Wanted>
std::vector<ChunkBlocks> DiskSnapshot::select(Wanted&& wanted) const {
    constexpr std::uint32_t kLeaf = OverlayMap::kLeafBlocks;
    std::vector<ChunkBlocks> all;
    for (std::uint64_t block = 0; block < map_.block_count();) {
        if (map_.leaf_is_base(static_cast<std::uint32_t>(block / kLeaf))) {
            block = (block / kLeaf + 1) * kLeaf;
            continue;
        }
        ChunkBlocks found{block / kChunkBlocks, 0};
        const std::uint64_t end =
            std::min<std::uint64_t>((found.chunk + 1) * kChunkBlocks, map_.block_count());
        for (; block < end; ++block) {
            const BlockState state = map_.get(static_cast<std::uint32_t>(block));
            if (state.is_base() || !wanted(found.chunk, state)) continue;
            found.blocks = static_cast<std::uint16_t>(found.blocks | 1u << block % kChunkBlocks);
        }
        if (found.blocks != 0) all.push_back(found);
    }
    return all;
}

std::vector<ChunkBlocks> DiskSnapshot::changed() const {
    return select([this](std::uint64_t chunk, BlockState state) {
        return !state.is_zero() || version_->location(chunk) != store::kZeroChunk;
    });
}

std::vector<ChunkBlocks> DiskSnapshot::stored() const {
    return select([](std::uint64_t, BlockState state) { return state.has_slot(); });
}

Result<> DiskSnapshot::carry_over(const store::Version& over,
                                  const std::filesystem::path& folder) const {
    return overlay_.carry(map_, changed(), over, folder);
}

Result<> DiskSnapshot::read_chunk(std::uint64_t chunk, std::uint8_t* data,
                                  const ReadBase& read_base) const {
    const auto first = static_cast<std::uint32_t>(chunk * kChunkBlocks);
    const auto count = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(kChunkBlocks, map_.block_count() - first));
    bool needs_base = false;
    for (std::uint32_t i = 0; i < count; ++i) needs_base |= map_.get(first + i).is_base();
    if (needs_base)
        GOLDLINK_TRY(read_base(chunk, data));
    else
        std::memset(data, 0, store::kChunkBytes);
    for (std::uint32_t i = 0; i < count;) {
        const BlockState state = map_.get(first + i);
        std::uint8_t* const at = data + std::size_t{i} * kBlockBytes;
        if (!state.has_slot()) {
            if (state.is_zero()) std::memset(at, 0, kBlockBytes);
            ++i;
            continue;
        }
        std::uint32_t run = 1;  // blocks written together lie together
        while (i + run < count) {
            const BlockState next = map_.get(first + i + run);
            if (!next.has_slot() || next.slot() != state.slot() + run ||
                !overlay_.slots().in_one_file(state.slot(), next.slot()))
                break;
            ++run;
        }
        GOLDLINK_TRY(overlay_.slots().read(state.slot(), at, run));
        i += run;
    }
    // What a write of the last block left past the disk's end is nobody's.
    const std::uint64_t left = version_->size_bytes() - chunk * store::kChunkBytes;
    if (left < store::kChunkBytes) std::memset(data + left, 0, store::kChunkBytes - left);
    return {};
}

}  // namespace goldlink::disk
