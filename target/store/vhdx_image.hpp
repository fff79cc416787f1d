// VHDX ([MS-VHDX]): what its headers say that qemu-img does not read, so that the refusal names it.
// The data is for qemu-img. Threads: any.
#pragma once

#include "target/store/image_file.hpp"
#include "target/store/image_format.hpp"

namespace goldlink::store {

// Refuses a differencing one and one of 4096-byte sectors; sets kind.repair of one with a log.
// Headers that are damaged say nothing here: the conversion finds that.
Result<> read_vhdx(const ImageFile& file, ImageKind& kind);

}  // namespace goldlink::store
