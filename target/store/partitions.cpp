#include "target/store/partitions.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "common/bytes.hpp"

namespace goldlink::store {
namespace {

constexpr std::size_t kMbrBytes = 512;
constexpr std::size_t kMbrEntriesAt = 446, kMbrEntryBytes = 16;
constexpr std::uint8_t kTypeGptProtective = 0xee;

using Found = std::optional<std::vector<Partition>>;

bool add_up(std::vector<Partition>& partitions, std::uint64_t disk_bytes) {
    std::sort(partitions.begin(), partitions.end(), [](const Partition& a, const Partition& b) {
        return a.offset_bytes < b.offset_bytes;
    });
    std::uint64_t end = 0;
    for (const Partition& each : partitions) {
        if (each.offset_bytes < end || each.length_bytes == 0 || each.offset_bytes == 0 ||
            each.offset_bytes > disk_bytes || each.length_bytes > disk_bytes - each.offset_bytes)
            return false;
        end = each.offset_bytes + each.length_bytes;
    }
    return true;
}

Found read_gpt(std::span<const std::uint8_t> start, std::uint64_t block_bytes) {
    constexpr std::size_t kHeaderBytes = 92;
    if (start.size() < block_bytes + kHeaderBytes) return std::nullopt;
    const std::uint8_t* const header = start.data() + block_bytes;
    if (std::memcmp(header, "EFI PART", 8) != 0) return std::nullopt;
    const std::uint64_t entries_lba = load_le64(header + 72);
    const std::uint64_t count = load_le32(header + 80), entry_bytes = load_le32(header + 84);
    if (entries_lba > start.size() / block_bytes || count > 1024 || entry_bytes < 128 ||
        entry_bytes > 4096)
        return std::nullopt;
    const std::uint64_t at = entries_lba * block_bytes;
    if (count * entry_bytes > start.size() - at) return std::nullopt;
    std::vector<Partition> partitions;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint8_t* const entry = start.data() + at + i * entry_bytes;
        if (std::all_of(entry, entry + 16, [](std::uint8_t byte) { return byte == 0; })) continue;
        const std::uint64_t first = load_le64(entry + 32), last = load_le64(entry + 40);
        constexpr std::uint64_t kMostBlocks = std::uint64_t{1} << 50;
        if (first > last || last > kMostBlocks || partitions.size() == kMaxPartitions)
            return std::nullopt;
        partitions.push_back(
            {static_cast<unsigned>(i + 1), first * block_bytes, (last - first + 1) * block_bytes});
    }
    return partitions;
}

// `protective`: a GPT says where the partitions are.
Found read_mbr(std::span<const std::uint8_t> start, std::uint64_t block_bytes, bool& protective) {
    if (start.size() < kMbrBytes || start[510] != 0x55 || start[511] != 0xaa) return std::nullopt;
    std::vector<Partition> partitions;
    for (unsigned i = 0; i < 4; ++i) {
        const std::uint8_t* const entry = start.data() + kMbrEntriesAt + i * kMbrEntryBytes;
        if (entry[4] == 0) continue;
        // A file system's boot sector ends with the same signature, and has anything there.
        if ((entry[0] & 0x7f) != 0) return std::nullopt;
        protective = protective || entry[4] == kTypeGptProtective;
        partitions.push_back(
            {i + 1, load_le32(entry + 8) * block_bytes, load_le32(entry + 12) * block_bytes});
    }
    return partitions;
}

}  // namespace

std::vector<Partition> find_partitions(std::span<const std::uint8_t> start,
                                       std::uint64_t disk_bytes,
                                       std::uint32_t logical_block_bytes) {
    bool protective = false;
    Found found = read_mbr(start, logical_block_bytes, protective);
    if (found && protective) {
        found = read_gpt(start, 512);
        if (!found) found = read_gpt(start, 4096);
    }
    if (!found || !add_up(*found, disk_bytes)) return {};
    return std::move(*found);
}

}  // namespace goldlink::store
