#include "manager/cli/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/image_magic.hpp"
#include "common/image_verdict.hpp"
#include "common/manifest.hpp"

namespace goldlink::cli {

namespace {

// What there is of `length` bytes from `offset` on.
Result<std::vector<std::uint8_t>> read_some(int fd, const std::string& path, std::uint64_t offset,
                                            std::size_t length) {
    std::vector<std::uint8_t> bytes(length);
    GOLDLINK_TRY_ASSIGN(const std::size_t got, read_at(fd, bytes, offset, path));
    bytes.resize(got);
    return bytes;
}

}  // namespace

Result<std::uint64_t> length_of(int fd, const std::string& path) {
    const off_t length = ::lseek(fd, 0, SEEK_END);
    if (length < 0) return system_failure(fmt::format("cannot find the size of {}", path));
    return static_cast<std::uint64_t>(length);
}

std::string DiskEnds::format(const std::string& path) const {
    for (const std::string_view found :
         {image_magic(first, last, path), compression_magic(first), archive_magic(first)})
        if (!found.empty()) return std::string(found);
    return {};
}

Result<> not_imported(Result<> checked) {
    if (checked) return checked;
    Error error = std::move(checked).error();
    error.message = "The file is not imported\n  why: " + error.message;
    return Failure(std::move(error));
}

Result<DiskEnds> read_ends(int fd, const std::string& path, std::uint64_t file_bytes) {
    DiskEnds ends;
    GOLDLINK_TRY_ASSIGN(ends.first, read_some(fd, path, 0, kMagicFirstBytes));
    const std::uint64_t last_bytes = std::min<std::uint64_t>(file_bytes, kMagicLastBytes);
    GOLDLINK_TRY_ASSIGN(ends.last, read_some(fd, path, file_bytes - last_bytes, kMagicLastBytes));
    return ends;
}

Result<RawDisk> RawDisk::open(const std::string& path) {
    RawDisk disk;
    disk.path_ = path;
    disk.fd_ = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!disk.fd_) return system_failure(fmt::format("cannot open {}", path));
    struct stat status {};
    if (::fstat(disk.fd(), &status) != 0)
        return system_failure(fmt::format("cannot look at {}", path));
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return failure(ErrorKind::invalid,
                       fmt::format("{} is neither a file nor a block device", path));
    GOLDLINK_TRY_ASSIGN(disk.file_bytes_, length_of(disk.fd(), path));
    if (disk.file_bytes_ == 0) return failure(ErrorKind::invalid, fmt::format("{} is empty", path));
    if (disk.file_bytes_ > kMaxDiskBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} has {} bytes, a disk may have at most {}", path,
                                   disk.file_bytes_, kMaxDiskBytes));
    GOLDLINK_TRY_ASSIGN(disk.guard_, SourceGuard::begin(disk.fd(), path));
    static_cast<void>(::posix_fadvise(disk.fd(), 0, 0, POSIX_FADV_SEQUENTIAL));
    return disk;
}

Result<> RawDisk::check_is_raw() const {
    GOLDLINK_TRY_ASSIGN(const DiskEnds ends, read_ends(fd(), path_, file_bytes_));
    if (const std::string format = ends.format(path_); !format.empty())
        return failure(ErrorKind::invalid,
                       fmt::format("{} is {} by its magic, and --delta takes raw disks\n  to do: "
                                   "import it without --delta, or make it raw first: qemu-img "
                                   "convert -O raw {} NEW.raw; if it is a raw disk all the same, "
                                   "add --format raw",
                                   path_, format, path_));
    return not_imported(check_importable({path_, file_bytes_, ends.first, ends.last}, ""));
}

Result<> RawDisk::check_unchanged() const { return guard_->check(); }

}  // namespace goldlink::cli
