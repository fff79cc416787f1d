#include "target/usage/file_system.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/bytes.hpp"

namespace goldlink::usage {
namespace {

using Start = std::span<const std::uint8_t>;

struct Row {
    FileSystem file_system;
    std::string_view name;
    bool readable;
};
constexpr std::array kRows = {
    Row{FileSystem::unknown, "", false},         Row{FileSystem::ntfs, "NTFS", true},
    Row{FileSystem::fat, "FAT", true},           Row{FileSystem::fat12, "FAT12", true},
    Row{FileSystem::fat16, "FAT16", true},       Row{FileSystem::fat32, "FAT32", true},
    Row{FileSystem::exfat, "exFAT", true},       Row{FileSystem::ext, "ext", true},
    Row{FileSystem::ext2, "ext2", true},         Row{FileSystem::ext3, "ext3", true},
    Row{FileSystem::ext4, "ext4", true},         Row{FileSystem::bitlocker, "BitLocker", false},
    Row{FileSystem::luks, "LUKS", false},        Row{FileSystem::lvm, "LVM", false},
    Row{FileSystem::swap, "swap", false},        Row{FileSystem::refs, "ReFS", false},
    Row{FileSystem::xfs, "XFS", false},          Row{FileSystem::btrfs, "Btrfs", false},
    Row{FileSystem::f2fs, "F2FS", false},        Row{FileSystem::bcachefs, "bcachefs", false},
    Row{FileSystem::zfs, "ZFS", false},          Row{FileSystem::mdraid, "Linux RAID", false},
    Row{FileSystem::hfs, "HFS+", false},         Row{FileSystem::apfs, "APFS", false},
    Row{FileSystem::iso9660, "ISO 9660", false},
};
static_assert(kRows.size() == static_cast<std::size_t>(FileSystem::last) + 1);

constexpr bool rows_in_order() {
    for (std::size_t i = 0; i < kRows.size(); ++i)
        if (static_cast<std::size_t>(kRows[i].file_system) != i) return false;
    return true;
}
static_assert(rows_in_order());

// Bytes that stand at a place of what says itself what it is.
struct Mark {
    std::size_t at;
    std::string_view bytes;
    FileSystem file_system;
};
using namespace std::string_view_literals;
constexpr std::array kMarks = {
    Mark{3, "NTFS    "sv, FileSystem::ntfs},
    Mark{3, "EXFAT   "sv, FileSystem::exfat},
    Mark{3, "-FVE-FS-"sv, FileSystem::bitlocker},
    Mark{3, "ReFS\0\0\0\0"sv, FileSystem::refs},
    Mark{0, "LUKS\xba\xbe"sv, FileSystem::luks},
    Mark{0, "XFSB"sv, FileSystem::xfs},
    Mark{32, "NXSB"sv, FileSystem::apfs},
    Mark{1024, "\x10\x20\xf5\xf2"sv, FileSystem::f2fs},
    Mark{1024, "H+\0\x04"sv, FileSystem::hfs},
    Mark{1024, "HX\0\x05"sv, FileSystem::hfs},
    Mark{4096, "\xfc\x4e\x2b\xa9"sv, FileSystem::mdraid},  // metadata 1.2
    Mark{0, "\xfc\x4e\x2b\xa9"sv, FileSystem::mdraid},     // metadata 1.1
    Mark{65536 + 64, "_BHRfS_M"sv, FileSystem::btrfs},
    Mark{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"sv,
         FileSystem::bcachefs},
    Mark{32768 + 1, "CD001"sv, FileSystem::iso9660},
};

bool stands_at(Start start, std::size_t at, std::string_view bytes) {
    return start.size() >= at + bytes.size() &&
           std::memcmp(start.data() + at, bytes.data(), bytes.size()) == 0;
}

// A label of LVM is in one of the first four sectors.
bool is_lvm(Start start) {
    for (std::size_t sector = 0; sector < 4; ++sector)
        if (stands_at(start, sector * 512, "LABELONE") &&
            stands_at(start, sector * 512 + 24, "LVM2 001"))
            return true;
    return false;
}

// The mark is at the end of a page, of whatever size the machine's are.
bool is_swap(Start start) {
    for (const std::size_t page : {4096u, 8192u, 16384u, 65536u})
        if (stands_at(start, page - 10, "SWAPSPACE2")) return true;
    return false;
}

// Uberblocks begin 128 KiB in; the name-value list of the label, 16 KiB in, names its pool.
bool is_zfs(Start start) {
    constexpr std::string_view kKey = "\0\0\0\x04name"sv;
    if (start.size() < 17 * 1024) return false;
    const auto list = start.subspan(16 * 1024, 1024);
    return list[0] <= 1 && std::search(list.begin(), list.end(), kKey.begin(), kKey.end(),
                                       [](std::uint8_t a, char b) {
                                           return a == static_cast<std::uint8_t>(b);
                                       }) != list.end();
}

// ext2 to ext4: the superblock's magic, and a block size that there is.
bool is_ext(Start start) {
    constexpr std::size_t kSuper = 1024;
    return stands_at(start, kSuper + 56, "\x53\xef") && load_le32(start.data() + kSuper + 24) <= 6;
}

// FAT says nothing of itself that it must; what its BIOS parameter block says must make sense.
bool is_fat(Start start) {
    if (start.size() < 512 || start[510] != 0x55 || start[511] != 0xaa) return false;
    if (start[0] != 0xeb && start[0] != 0xe9) return false;
    const auto word = [&](std::size_t at) {
        return static_cast<unsigned>(start[at]) | static_cast<unsigned>(start[at + 1]) << 8;
    };
    const unsigned sector_bytes = word(11), reserved = word(14);
    return sector_bytes >= 512 && sector_bytes <= 4096 && std::has_single_bit(sector_bytes) &&
           std::has_single_bit(unsigned{start[13]}) && reserved > 0 && start[16] >= 1 &&
           start[16] <= 2 && start[21] >= 0xf0;
}

}  // namespace

std::string_view name_of(FileSystem file_system) {
    return kRows[static_cast<std::size_t>(file_system)].name;
}

bool is_readable(FileSystem file_system) {
    return kRows[static_cast<std::size_t>(file_system)].readable;
}

FileSystem detect(Start start) {
    // What lies further in may be left of an earlier file system.
    constexpr std::size_t kFirstSectors = 1024;
    for (const Mark& mark : kMarks)
        if (mark.at < kFirstSectors && stands_at(start, mark.at, mark.bytes))
            return mark.file_system;
    if (is_lvm(start)) return FileSystem::lvm;
    if (is_ext(start)) return FileSystem::ext;
    if (is_fat(start)) return FileSystem::fat;
    for (const Mark& mark : kMarks)
        if (stands_at(start, mark.at, mark.bytes)) return mark.file_system;
    if (is_swap(start)) return FileSystem::swap;
    if (is_zfs(start)) return FileSystem::zfs;
    return FileSystem::unknown;
}

}  // namespace goldlink::usage
