// How large a disk must be by its own partition table, and which blocks the table counts in: read
// from the disk's first bytes, to tell one that was cut short or is served in the wrong blocks.
// Pure; what does not look like a table claims nothing. (MBR and GPT: UEFI 2.10, 5.2.1 and 5.3.2.)
#pragma once

#include <cstdint>

#include "common/bytes.hpp"

namespace goldlink {

struct PartitionClaim {
    std::uint64_t disk_bytes = 0;   // the least that the disk has; 0: no table says
    std::uint32_t block_bytes = 0;  // of a GPT: 512 or 4096, by where it stands; else 0
    bool gpt() const { return block_bytes != 0; }
};

// `first`: at least 4,608 bytes for a GPT of 4096-byte blocks.
PartitionClaim partition_claim(Bytes first);

}  // namespace goldlink
