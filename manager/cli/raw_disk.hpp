// RawDisk: a raw disk of this machine that is read to be sent: a regular file, or a block device,
// which may be the disk that the machine runs from. One thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::cli {

class RawDisk {
  public:
    // Refuses what is empty, too large for a disk, or neither file nor block device.
    static Result<RawDisk> open(const std::string& path);

    int fd() const { return fd_.get(); }
    const std::string& path() const { return path_; }
    std::uint64_t file_bytes() const { return file_bytes_; }

    // Refuses a disk image of another format, a compressed file, and what has no partition table:
    // by its magic, as an import does.
    Result<> check_is_raw() const;
    // Refuses what became longer or shorter since it was opened, and a file that was written to. A
    // block device does not tell of writes.
    Result<> check_unchanged() const;

  private:
    RawDisk() = default;

    FileDescriptor fd_;
    std::string path_;
    std::uint64_t file_bytes_ = 0;
    struct stat opened_ {};
};

// How long an open file or block device is.
Result<std::uint64_t> length_of(int fd, const std::string& path);
// "qcow2", "vhdx", "vmdk", "vhd", "gzip", "zstd", "xz" by the magic of what lies at this path, else
// ""; `partitioned`, where it is not null, says whether it looks like a raw disk.
Result<std::string> format_by_magic(int fd, const std::string& path, std::uint64_t file_bytes,
                                    bool* partitioned);

}  // namespace goldlink::cli
