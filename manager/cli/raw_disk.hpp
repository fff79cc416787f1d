// RawDisk: a raw disk of this machine that is read to be sent: a regular file, or a block device,
// which may be the disk that the machine runs from. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/file.hpp"
#include "common/result.hpp"
#include "common/source_guard.hpp"

namespace goldlink::cli {

class RawDisk {
  public:
    // Refuses what is empty, too large for a disk, or neither file nor block device, and a file
    // that another program writes to.
    static Result<RawDisk> open(const std::string& path);

    int fd() const { return fd_.get(); }
    const std::string& path() const { return path_; }
    std::uint64_t file_bytes() const { return file_bytes_; }

    // Refuses a disk image of another format, a compressed file, and what an import would take for
    // no whole raw disk.
    Result<> check_is_raw() const;
    // Refuses what became longer or shorter since it was opened, and a file that was written to. A
    // block device does not tell of writes.
    Result<> check_unchanged() const;

  private:
    RawDisk() = default;

    FileDescriptor fd_;
    std::string path_;
    std::uint64_t file_bytes_ = 0;
    std::optional<SourceGuard> guard_;
};

// How long an open file or block device is.
Result<std::uint64_t> length_of(int fd, const std::string& path);
// The first and last bytes of what lies at a path.
struct DiskEnds {
    std::vector<std::uint8_t> first, last;
    // "qcow2", "vhdx", "vmdk", "vhd", "gzip", "zip" ... by its magic, else "".
    std::string format(const std::string& path) const;
};
Result<DiskEnds> read_ends(int fd, const std::string& path, std::uint64_t file_bytes);
// Why a file was not taken, in the words that a refusal of the server has.
Result<> not_imported(Result<> checked);

}  // namespace goldlink::cli
