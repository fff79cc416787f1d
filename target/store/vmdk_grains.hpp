// Whether a sparse VMDK extent holds all of its grains: a copy that broke off lacks those at its
// end, which qemu-img would read as zeros. The tables say where each lies (VMware "Virtual Disk
// Format 5.0": Hosted Sparse Extents, ESX Server Sparse Extents). Threads: any.
#pragma once

#include <cstdint>
#include <vector>

#include "target/store/image_file.hpp"

namespace goldlink::store {

// `first`: the file's first sector, with the magic of a sparse extent. Errors: invalid, when a
// grain or a table lies past the end of the file.
Result<> check_vmdk_grains(const ImageFile& file, const std::vector<std::uint8_t>& first);

}  // namespace goldlink::store
