// The text descriptor of a VMDK ("# Disk DescriptorFile"), a file of its own or embedded in the one
// with the data: which extents the disk is made of. Stricter than what VMware reads: a line that is
// neither a comment, nor `name=value`, nor an extent refuses the whole, so that no other reader
// finds more files in it than this one. It ends at its first zero byte, as for those who convert
// it. (VMware, "Virtual Disk Format 5.0", "The Descriptor File".) Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink {

inline constexpr std::size_t kMaxVmdkDescriptorBytes = 256 * 1024;
inline constexpr std::size_t kMaxVmdkExtents = 1024;
inline constexpr std::string_view kVmdkDescriptorMagic = "# Disk DescriptorFile";

// The disk is its extents one after the other.
struct VmdkExtent {
    std::string type;                  // FLAT, VMFS, SPARSE, VMFSSPARSE, SESPARSE or ZERO
    std::uint64_t sectors = 0;         // of 512 bytes; at least 1
    std::string file;                  // a name without any '/', '\' or ':'; "" of ZERO
    std::uint64_t offset_sectors = 0;  // where in the file the extent begins; of FLAT only

    bool is_flat() const { return type == "FLAT" || type == "VMFS"; }
};

// The extents in their order, at least one of them with a file; together at most kMaxDiskBytes.
// `name` is for messages. Refused: an extent whose name is a path or a device, one of another type
// (a raw device), one with data that nobody may access, a descriptor with a parent, one that is no
// such text.
Result<std::vector<VmdkExtent>> parse_vmdk_descriptor(std::string_view text,
                                                      const std::string& name);

}  // namespace goldlink
