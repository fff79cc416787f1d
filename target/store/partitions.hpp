// Where a disk's partitions lie, by its MBR (UEFI 2.10, 5.2.1) or GPT (5.3), as far as its first
// chunk says. Pure; little endian. What does not add up is no table: whoever asks then takes the
// disk for one whole.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "target/store/read_disk.hpp"

namespace goldlink::store {

struct Partition {
    unsigned number = 0;  // as the table counts, from 1; 0: what lies outside all of them
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;

    bool operator==(const Partition&) const = default;
};

inline constexpr std::size_t kMaxPartitions = 128;

// By offset, none over another. Of an MBR, which counts in the disk's logical blocks, the four
// entries: logical partitions lie within theirs.
// Empty: no table, or one that contradicts itself or the disk, or lies past `start`.
std::vector<Partition> find_partitions(std::span<const std::uint8_t> start,
                                       std::uint64_t disk_bytes,
                                       std::uint32_t logical_block_bytes = 512);

// The same of a whole disk, with an MBR's logical partitions, numbers from 5, in place of the
// extended one they lie in. A chain of them that contradicts itself ends there; one without any
// leaves the extended partition as it is.
Result<std::vector<Partition>> read_partitions(const ReadDisk& read, std::uint64_t disk_bytes,
                                               std::uint32_t logical_block_bytes = 512);

}  // namespace goldlink::store
