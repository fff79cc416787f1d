#include "common/partition_claim.hpp"

#include <algorithm>

#include "common/image_magic.hpp"

namespace goldlink {

namespace {

constexpr std::size_t kMbrBytes = 512, kEntriesAt = 446, kEntryBytes = 16;
constexpr std::uint8_t kProtective = 0xee;

// The backup header stands in the disk's last block.
PartitionClaim read_gpt(Bytes first, std::uint32_t block_bytes) {
    constexpr std::size_t kHeaderBytes = 92;
    constexpr std::uint64_t kMostBlocks = std::uint64_t{1} << 50;
    if (first.size() < block_bytes + kHeaderBytes || !has_magic(first, "EFI PART", block_bytes))
        return {};
    const std::uint8_t* const header = first.data() + block_bytes;
    const std::uint64_t own = load_le64(header + 24), backup = load_le64(header + 32);
    if (own != 1 || backup <= 1 || backup > kMostBlocks) return {0, block_bytes};
    return {(backup + 1) * block_bytes, block_bytes};
}

// A file system's boot sector ends with an MBR's signature, and has code where that has entries.
bool is_boot_sector(Bytes first) {
    for (const std::string_view creator : {"NTFS    ", "EXFAT   ", "MSDOS", "MSWIN", "mkfs.fat"})
        if (has_magic(first, creator, 3)) return true;
    return has_magic(first, "FAT", 54) || has_magic(first, "FAT32", 82);
}

PartitionClaim read_mbr(Bytes first) {
    if (first.size() < kMbrBytes || !has_magic(first, "\x55\xaa", 510) || is_boot_sector(first))
        return {};
    std::uint64_t end = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const std::uint8_t* const entry = first.data() + kEntriesAt + i * kEntryBytes;
        const std::uint64_t start = load_le32(entry + 8), count = load_le32(entry + 12);
        // Only "active" may stand in the first byte. A protective entry is as large as can be.
        if ((entry[0] & 0x7f) != 0 || entry[4] == kProtective) return {};
        if (entry[4] == 0) continue;
        if (start == 0 || count == 0) return {};
        end = std::max(end, start + count);
    }
    return {end * 512, 0};
}

}  // namespace

PartitionClaim partition_claim(Bytes first) {
    for (const std::uint32_t block_bytes : {512U, 4096U})
        if (const PartitionClaim claim = read_gpt(first, block_bytes); claim.gpt()) return claim;
    return read_mbr(first);
}

}  // namespace goldlink
