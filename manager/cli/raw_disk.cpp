#include "manager/cli/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/image_magic.hpp"
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

Result<std::string> format_by_magic(int fd, const std::string& path, std::uint64_t file_bytes,
                                    bool* partitioned) {
    GOLDLINK_TRY_ASSIGN(const auto first, read_some(fd, path, 0, kMagicFirstBytes));
    const std::uint64_t last_bytes = std::min<std::uint64_t>(file_bytes, kMagicLastBytes);
    GOLDLINK_TRY_ASSIGN(const auto last,
                        read_some(fd, path, file_bytes - last_bytes, kMagicLastBytes));
    if (partitioned != nullptr) *partitioned = looks_like_a_disk(first);
    if (const auto image = image_magic(first, last, path); !image.empty())
        return std::string(image);
    return std::string(compression_magic(first));
}

Result<RawDisk> RawDisk::open(const std::string& path) {
    RawDisk disk;
    disk.path_ = path;
    disk.fd_ = FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!disk.fd_) return system_failure(fmt::format("cannot open {}", path));
    if (::fstat(disk.fd(), &disk.opened_) != 0)
        return system_failure(fmt::format("cannot look at {}", path));
    if (!S_ISREG(disk.opened_.st_mode) && !S_ISBLK(disk.opened_.st_mode))
        return failure(ErrorKind::invalid,
                       fmt::format("{} is neither a file nor a block device", path));
    GOLDLINK_TRY_ASSIGN(disk.file_bytes_, length_of(disk.fd(), path));
    if (disk.file_bytes_ == 0) return failure(ErrorKind::invalid, fmt::format("{} is empty", path));
    if (disk.file_bytes_ > kMaxDiskBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} has {} bytes, a disk may have at most {}", path,
                                   disk.file_bytes_, kMaxDiskBytes));
    static_cast<void>(::posix_fadvise(disk.fd(), 0, 0, POSIX_FADV_SEQUENTIAL));
    return disk;
}

Result<> RawDisk::check_is_raw() const {
    bool partitioned = false;
    GOLDLINK_TRY_ASSIGN(const auto format, format_by_magic(fd(), path_, file_bytes_, &partitioned));
    if (!format.empty())
        return failure(ErrorKind::invalid,
                       fmt::format("{} is {} by its magic, and --delta takes raw disks\n  to do: "
                                   "import it without --delta, or make it raw first: qemu-img "
                                   "convert -O raw {} NEW.raw; if it is a raw disk all the same, "
                                   "add --format raw",
                                   path_, format, path_));
    if (!partitioned)
        return failure(ErrorKind::invalid,
                       fmt::format("{} has no partition table (MBR or GPT)\n  to do: if it is a "
                                   "raw disk all the same, add --format raw",
                                   path_));
    return {};
}

Result<> RawDisk::check_unchanged() const {
    struct stat now {};
    if (::fstat(fd(), &now) != 0) return system_failure(fmt::format("cannot look at {}", path_));
    GOLDLINK_TRY_ASSIGN(const std::uint64_t bytes, length_of(fd(), path_));
    if (bytes != file_bytes_)
        return failure(ErrorKind::conflict,
                       fmt::format("{} had {} bytes when it was opened and has {} now; stop what "
                                   "changes it, then repeat the command",
                                   path_, file_bytes_, bytes));
    if (S_ISREG(now.st_mode) && (now.st_mtim.tv_sec != opened_.st_mtim.tv_sec ||
                                 now.st_mtim.tv_nsec != opened_.st_mtim.tv_nsec))
        return failure(ErrorKind::conflict,
                       fmt::format("{} was written to while it was read, so that what came may be "
                                   "of before and of after; stop what writes to it (a virtual "
                                   "machine?), then repeat the command",
                                   path_));
    return {};
}

}  // namespace goldlink::cli
