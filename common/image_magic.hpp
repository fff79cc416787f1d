// What a file of a disk says it is by its first and last bytes: the magic numbers of disk images
// and of compressed files, and the signs of a partitioned raw disk. Pure; threads: any.
#pragma once

#include <string_view>

#include "common/bytes.hpp"

namespace goldlink {

// How much of a file's beginning and end the functions below look at; a shorter file gives what it
// has.
inline constexpr std::size_t kMagicFirstBytes = 64 * 1024, kMagicLastBytes = 512;

// Whether `magic` stands at this offset.
bool has_magic(Bytes bytes, std::string_view magic, std::size_t at = 0);
// "qcow2", "vhdx", "vmdk", "vhd" or "". The name's ending matters only to recognise a VHD that lost
// its footer.
std::string_view image_magic(Bytes first, Bytes last, std::string_view name);
// "gzip", "bzip2", "zstd", "xz" or "".
std::string_view compression_magic(Bytes first);
// "zip", "tar" (an OVA is one) or "".
std::string_view archive_magic(Bytes first);
// Volume descriptors of ISO 9660 or UDF, in their place.
bool is_iso(Bytes first);
// A GPT header, or a boot sector's signature with a partition table that could be one.
bool looks_like_a_disk(Bytes first);

}  // namespace goldlink
