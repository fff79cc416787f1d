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
constexpr std::size_t kStartBytes = 64 * 1024;
constexpr unsigned kFirstLogical = 5;

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

struct MbrEntry {
    std::uint8_t type = 0;
    std::uint64_t first = 0, count = 0;  // logical blocks
};

MbrEntry mbr_entry(const std::uint8_t* sector, unsigned index) {
    const std::uint8_t* const entry = sector + kMbrEntriesAt + index * kMbrEntryBytes;
    return {entry[4], load_le32(entry + 8), load_le32(entry + 12)};
}

bool is_extended(std::uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

// Each sector of the chain has a partition, as seen from that sector, and where the next sector is,
// as seen from the extended partition.
Result<std::vector<Partition>> read_logical(const ReadDisk& read, const Partition& extended,
                                            std::uint64_t block_bytes, std::size_t most) {
    std::vector<Partition> partitions;
    const std::uint64_t end = extended.offset_bytes + extended.length_bytes;
    for (std::uint64_t at = extended.offset_bytes; partitions.size() < most;) {
        std::uint8_t sector[kMbrBytes];
        GOLDLINK_TRY(read(at, sector, sizeof sector));
        if (sector[510] != 0x55 || sector[511] != 0xaa) break;
        const MbrEntry own = mbr_entry(sector, 0), next = mbr_entry(sector, 1);
        const std::uint64_t from = at + own.first * block_bytes, length = own.count * block_bytes;
        if (own.type != 0) {
            if (own.first == 0 || length == 0 || from >= end || length > end - from) break;
            const auto number = static_cast<unsigned>(kFirstLogical + partitions.size());
            partitions.push_back({number, from, length});
        }
        const std::uint64_t next_at = extended.offset_bytes + next.first * block_bytes;
        // Ascending, so that it ends.
        if (!is_extended(next.type) || next_at <= at || next_at > end - kMbrBytes) break;
        at = next_at;
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

Result<std::vector<Partition>> read_partitions(const ReadDisk& read, std::uint64_t disk_bytes,
                                               std::uint32_t logical_block_bytes) {
    std::vector<std::uint8_t> start(std::min<std::uint64_t>(kStartBytes, disk_bytes));
    GOLDLINK_TRY(read(0, start.data(), start.size()));
    std::vector<Partition> partitions = find_partitions(start, disk_bytes, logical_block_bytes);
    bool protective = false;
    if (partitions.empty() || !read_mbr(start, logical_block_bytes, protective) || protective)
        return partitions;
    std::vector<Partition> whole;
    for (const Partition& each : partitions) {
        std::vector<Partition> logical;
        if (is_extended(mbr_entry(start.data(), each.number - 1).type)) {
            GOLDLINK_TRY_ASSIGN(logical, read_logical(read, each, logical_block_bytes,
                                                      kMaxPartitions - partitions.size()));
        }
        std::vector<Partition> both = whole;
        both.insert(both.end(), logical.begin(), logical.end());
        if (logical.empty() || !add_up(both, disk_bytes)) {
            whole.push_back(each);
            continue;
        }
        whole = std::move(both);
    }
    return whole;
}

}  // namespace goldlink::store
