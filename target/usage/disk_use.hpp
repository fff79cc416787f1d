// What fills an overlay: its written bytes by partition and, where the file system can be read, by
// file. Plain values; everything in them that came from a disk is bounded and clean text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "target/store/partitions.hpp"
#include "target/usage/file_system.hpp"

namespace goldlink::usage {

inline constexpr std::uint32_t kMaxFiles = 100;  // listed of each partition
inline constexpr std::size_t kMaxPathBytes = 1024;
inline constexpr std::size_t kMaxTextBytes = 300;  // of what says why something is missing

struct FileUse {
    std::string path;  // "/Windows/System32/config/SYSTEM"; cut ones begin with "…"
    std::uint64_t written_bytes = 0;  // of it in the overlay
    std::uint64_t size_bytes = 0;  // as the file system says; of a sparse file it may be anything
};

// Why a partition's written bytes are not, or not all, accounted for.
enum class Gap : std::uint8_t {
    none,
    not_readable,  // a file system, or none, that is not looked into
    damaged,       // it could not be opened, or a part of it could not be read
    time,          // it took too long
    memory,        // it needs more memory than the reader has
    last = memory,
};

// Of one partition. The three kinds of bytes never add up to more than its written bytes; what is
// missing there could not be told.
struct Contents {
    FileSystem file_system = FileSystem::unknown;
    Gap gap = Gap::not_readable;
    std::uint64_t file_bytes = 0;
    std::uint64_t metadata_bytes = 0;  // in use, but by no file: tables, journal, directories
    std::uint64_t free_bytes = 0;      // free as the file system says: of files that are deleted
    std::uint64_t file_count = 0;      // files with written bytes
    std::vector<FileUse> files;        // those with most, that first
};

struct PartitionUse {
    store::Partition partition;  // number 0: the whole disk, which has no partition table
    std::uint64_t written_bytes = 0;
    Contents contents;
    std::string gap_text;  // "" when gap is none

    std::uint64_t other_bytes() const {
        return written_bytes - contents.file_bytes - contents.metadata_bytes - contents.free_bytes;
    }
};

struct DiskUse {
    std::uint64_t disk_bytes = 0;
    std::uint64_t used_bytes = 0;     // of the overlay; the sum of all below
    std::uint64_t outside_bytes = 0;  // of partitions: tables, gaps
    std::vector<PartitionUse> partitions;
    std::string incomplete;  // why not everything was looked at; "" when it was
};

}  // namespace goldlink::usage
