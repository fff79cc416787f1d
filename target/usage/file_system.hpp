// What a partition holds, as far as its first bytes say: one of the file systems that are looked
// into, or something that is only named. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace goldlink::usage {

// In the order of their names' table; on the wire as its number.
enum class FileSystem : std::uint8_t {
    unknown,
    ntfs,
    fat,  // until its width is known
    fat12,
    fat16,
    fat32,
    exfat,
    ext,  // until its number is known
    ext2,
    ext3,
    ext4,
    bitlocker,
    luks,
    lvm,
    swap,
    refs,
    xfs,
    btrfs,
    f2fs,
    bcachefs,
    zfs,
    mdraid,
    hfs,
    apfs,
    iso9660,
    last = iso9660,
};

// "NTFS"; "" of unknown.
std::string_view name_of(FileSystem file_system);
// Whether files of it can be told.
bool is_readable(FileSystem file_system);

// What detect() wants to see of a partition's start.
inline constexpr std::size_t kDetectBytes = 80 * 1024;
FileSystem detect(std::span<const std::uint8_t> start);

}  // namespace goldlink::usage
