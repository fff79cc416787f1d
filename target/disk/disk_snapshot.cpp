#include "target/disk/disk_snapshot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace goldlink::disk {

namespace {
constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / kBlockBytes;
static_assert(kChunkBlocks == 16, "a chunk's blocks are the bits of ChunkBlocks::blocks");

std::string damage_text(std::uint64_t block) {
    return fmt::format(
        "the {} bytes at {} of the disk do not hold what was written there; 'goldlink link verify' "
        "says which others do not, 'goldlink link salvage' makes a version without them",
        kBlockBytes, block * kBlockBytes);
}
}  // namespace

DiskSnapshot::DiskSnapshot(Overlay& overlay, std::shared_ptr<const store::Version> version)
    : overlay_(overlay),
      version_(std::move(version)),
      map_(overlay.hold()),
      checks_(overlay.checks().view()) {}

DiskSnapshot::~DiskSnapshot() { overlay_.let_go(); }

std::uint64_t DiskSnapshot::chunk_count() const {
    return (std::uint64_t{map_.block_count()} + kChunkBlocks - 1) / kChunkBlocks;
}

template <typename Wanted>
std::vector<ChunkBlocks> DiskSnapshot::select(Wanted&& wanted, std::uint64_t& chunk,
                                              std::uint64_t max_blocks) const {
    constexpr std::uint32_t kLeaf = OverlayMap::kLeafBlocks;
    static_assert(kLeaf % kChunkBlocks == 0, "a chunk's blocks are of one leaf");
    std::vector<ChunkBlocks> all;
    for (std::uint64_t count = 0; chunk < chunk_count() && count < max_blocks;) {
        const std::uint64_t first = chunk * kChunkBlocks;
        if (map_.leaf_is_base(static_cast<std::uint32_t>(first / kLeaf))) {
            chunk = (first / kLeaf + 1) * (kLeaf / kChunkBlocks);
            continue;
        }
        ChunkBlocks found{chunk++, 0};
        const std::uint64_t end = std::min<std::uint64_t>(first + kChunkBlocks, map_.block_count());
        for (std::uint64_t block = first; block < end; ++block) {
            const BlockState state = map_.get(static_cast<std::uint32_t>(block));
            if (state.is_base() || !wanted(found.chunk, state)) continue;
            found.blocks = static_cast<std::uint16_t>(found.blocks | 1u << block % kChunkBlocks);
            ++count;
        }
        if (found.blocks != 0) all.push_back(found);
    }
    chunk = std::min(chunk, chunk_count());
    return all;
}

template <typename Wanted>
std::vector<ChunkBlocks> DiskSnapshot::select_all(Wanted&& wanted) const {
    std::uint64_t chunk = 0;
    return select(wanted, chunk, UINT64_MAX);
}

namespace {
bool is_stored(std::uint64_t /*chunk*/, BlockState state) { return state.has_slot(); }
}  // namespace

std::vector<ChunkBlocks> DiskSnapshot::changed() const {
    return select_all([this](std::uint64_t chunk, BlockState state) {
        return !state.is_zero() || version_->location(chunk) != store::kZeroChunk;
    });
}

std::vector<ChunkBlocks> DiskSnapshot::stored() const { return select_all(is_stored); }

Result<> DiskSnapshot::carry_over(const store::Version& over,
                                  const std::filesystem::path& folder) const {
    // What is damaged would be so over the other version too, but nobody is to learn of it then.
    GOLDLINK_TRY(compare_all([](const Compared& found) -> Result<> {
        if (found.bad.empty()) return {};
        return failure(ErrorKind::corrupt, damage_text(found.bad.front()));
    }));
    return overlay_.carry(map_, checks_, changed(), over, folder);
}

Result<> DiskSnapshot::check_run(std::uint64_t block, std::uint32_t slot, const std::uint8_t* data,
                                 std::uint32_t count) const {
    for (std::uint32_t i = 0; i < count; ++i, data += kBlockBytes) {
        const std::uint32_t wanted = checks_.crc_of(slot + i);
        if (wanted != 0 && crc32c(data, kBlockBytes) != wanted)
            return failure(ErrorKind::corrupt, damage_text(block + i));
    }
    return {};
}

DiskSnapshot::Compared DiskSnapshot::compare_some(std::uint64_t& chunk,
                                                  std::uint32_t max_blocks) const {
    std::array<std::uint8_t, kBlockBytes> data{};
    Compared found;
    const std::uint32_t whole_chunks = std::max(max_blocks / kChunkBlocks, 1U) * kChunkBlocks;
    for (const ChunkBlocks& each : select(is_stored, chunk, whole_chunks - kChunkBlocks + 1)) {
        for (std::uint32_t i = 0; i < kChunkBlocks; ++i) {
            if ((each.blocks >> i & 1) == 0) continue;
            const auto block = static_cast<std::uint32_t>(each.chunk * kChunkBlocks + i);
            const std::uint32_t slot = map_.get(block).slot(), wanted = checks_.crc_of(slot);
            ++found.looked;
            if (!overlay_.slots().read(slot, data.data())) {
                found.bad.push_back(block);
                continue;
            }
            const std::uint32_t crc = crc32c(data.data(), kBlockBytes);
            found.read.push_back({block, slot, crc});
            if (wanted != 0 && crc != wanted) found.bad.push_back(block);
        }
    }
    return found;
}

Result<> DiskSnapshot::compare_all(
    const std::function<Result<>(const Compared& found)>& on_run) const {
    constexpr std::uint32_t kRun = 1024;
    for (std::uint64_t chunk = 0; chunk < chunk_count();)
        if (const Compared found = compare_some(chunk, kRun); found.looked > 0)
            GOLDLINK_TRY(on_run(found));
    return {};
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
        GOLDLINK_TRY(check_run(first + i, state.slot(), at, run));
        i += run;
    }
    // What a write of the last block left past the disk's end is nobody's.
    const std::uint64_t left = version_->size_bytes() - chunk * store::kChunkBytes;
    if (left < store::kChunkBytes) std::memset(data + left, 0, store::kChunkBytes - left);
    return {};
}

}  // namespace goldlink::disk
