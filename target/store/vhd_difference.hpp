// Applies a differencing VHD to the disk its parent holds: qemu-img cannot. The file is read by a
// child in the sandbox, with nothing but the two open files. ("Virtual Hard Disk Image Format
// Specification", 2006: block allocation table, sector bitmaps.) Threads: any; blocks.
#pragma once

#include <filesystem>
#include <string>

#include "target/store/image_format.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::store {

// `raw` holds the parent's disk; it becomes `kind.disk_bytes` long, the child's sectors over it.
// Adds that much of progress. `kind` is detect_format()'s answer for `source`.
Result<> apply_vhd_difference(const std::filesystem::path& source, const std::string& name,
                              const ImageKind& kind, const std::filesystem::path& raw,
                              Progress& progress);

}  // namespace goldlink::store
