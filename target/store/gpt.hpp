// The GUID partition table of a disk that grows (UEFI 2.10, 5.3): its backup must stand at the new
// end, and the primary header and the protective MBR say where the disk ends. Pure: bytes in,
// bytes to be written out. Little endian.
#pragma once

#include <cstdint>
#include <vector>

#include "common/result.hpp"
#include "target/store/read_disk.hpp"

namespace goldlink::store {

// Bytes to be written at an offset of the disk; empty when it has no such table.
struct DiskPatch {
    std::uint64_t offset_bytes = 0;
    std::vector<std::uint8_t> bytes;
};

// What changes when a disk of `old_bytes` becomes one of `new_bytes`, which is larger and a
// multiple of 4096. Logical blocks of 512 or 4096 bytes, by where the header stands. A table that
// is damaged is an error that says so: moving it would hide the damage.
Result<std::vector<DiskPatch>> grow_gpt(const ReadDisk& read, std::uint64_t old_bytes,
                                        std::uint64_t new_bytes);

}  // namespace goldlink::store
