// The text descriptor of a VMDK whose data lies in other files ("# Disk DescriptorFile"): which
// files those are. Stricter than what VMware reads: a line that is neither a comment, nor
// `name=value`, nor an extent refuses the whole, so that no other reader finds more files in it
// than this one. It ends at its first zero byte, as for those who convert it. (VMware, "Virtual
// Disk Format 5.0", "The Descriptor File".) Pure.
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

struct VmdkExtent {
    std::string type;  // SPARSE, FLAT, VMFS ...; ZERO has no file and is left out
    std::string file;  // beside the descriptor: a name without any '/', '\' or ':'
};

// The extents in their order; at least one. `name` is for messages. Refused: an extent whose name
// is a path or a device, a descriptor with a parent, one that is no such text.
Result<std::vector<VmdkExtent>> parse_vmdk_descriptor(std::string_view text,
                                                      const std::string& name);

}  // namespace goldlink
