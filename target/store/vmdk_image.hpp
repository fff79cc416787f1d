// VMDK: one file with its descriptor inside, or a text that names the files with the data. Both
// descriptors are read here, and strictly; qemu-img is handed neither to follow. Of one file it
// reads the header, which must say how large the disk is (with 0 it would take the embedded
// descriptor for one of other files, and open those). In place of a text it gets one of ours, with
// the extents that were checked. Threads: any.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "common/vmdk_descriptor.hpp"
#include "target/store/image_file.hpp"
#include "target/store/image_format.hpp"
#include "target/store/spool_file.hpp"

namespace goldlink::store {

// Sets kind.extents of a text, and kind.disk_bytes. `first` are the file's first bytes.
Result<> read_vmdk(const ImageFile& file, const std::vector<std::uint8_t>& first, ImageKind& kind);

// That the file holds the whole extent: a flat one all of its sectors, a sparse one a header that
// says the same number, and all of its grains.
Result<> check_vmdk_extent(const ImageFile& file, const VmdkExtent& extent);

// A descriptor for qemu-img, and the file of zeros that stands for extents of type ZERO.
struct VmdkDescriptorFile {
    SpoolFile text;
    std::optional<SpoolFile> zeros;
};

// Of extents whose `file` is the path of the file that was found for it.
Result<VmdkDescriptorFile> write_vmdk_descriptor(const std::vector<VmdkExtent>& extents,
                                                 const std::filesystem::path& folder);

}  // namespace goldlink::store
