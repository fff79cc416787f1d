#include "manager/cli/delta_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "common/sparse_write.hpp"
#include "manager/cli/part_file.hpp"
#include "manager/cli/raw_disk.hpp"

namespace goldlink::cli {

namespace {

constexpr int kNewFileMode = 0644;

// Whether the file that this path names now is the one that is open.
bool is_at(const std::string& path, int fd) {
    struct stat named {
    }, open{};
    return ::stat(path.c_str(), &named) == 0 && ::fstat(fd, &open) == 0 &&
           named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

}  // namespace

Result<DeltaFile> DeltaFile::open(const std::string& path, std::uint64_t disk_bytes,
                                  bool surely_raw, bool is_new) {
    DeltaFile file;
    file.is_new_ = is_new;
    file.disk_bytes_ = disk_bytes;
    std::error_code error;
    const auto real = std::filesystem::canonical(path, error);  // what a symbolic link names
    file.path_ = error ? path : real.string();
    struct stat status {};
    const bool there = ::stat(file.path_.c_str(), &status) == 0;
    if (there && S_ISBLK(status.st_mode)) {
        GOLDLINK_TRY(file.open_device());
        return file;
    }
    if (there && !S_ISREG(status.st_mode))
        return failure(ErrorKind::invalid,
                       fmt::format("{} is neither a file nor a block device", path));
    if (there) {
        file.old_ = FileDescriptor(::open(file.path_.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file.old_) return system_failure(fmt::format("cannot open {}", path));
        GOLDLINK_TRY_ASSIGN(file.old_bytes_, length_of(file.old_.get(), path));
    }
    GOLDLINK_TRY(file.open_part(surely_raw));
    return file;
}

Result<> DeltaFile::open_device() {
    // O_EXCL of a block device: nobody has it mounted or in use.
    result_ = FileDescriptor(::open(path_.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
    if (!result_ && errno == EBUSY)
        return failure(
            ErrorKind::conflict,
            fmt::format("{} is in use: unmount what is on it, then repeat the command", path_));
    if (!result_) return system_failure(fmt::format("cannot open {}", path_));
    GOLDLINK_TRY_ASSIGN(const std::uint64_t bytes, length_of(result_.get(), path_));
    if (bytes < disk_bytes_)
        return failure(ErrorKind::exhausted,
                       fmt::format("{} has {} bytes, the version's disk {}: take a larger one",
                                   path_, bytes, disk_bytes_));
    base_bytes_ = disk_bytes_;
    base_is_result_ = true;
    return {};
}

Result<> DeltaFile::open_part(bool surely_raw) {
    if (old_bytes_ > 0 && !surely_raw) {
        GOLDLINK_TRY_ASSIGN(const DiskEnds ends, read_ends(old_.get(), path_, old_bytes_));
        if (const std::string format = ends.format(path_); !format.empty())
            return failure(
                ErrorKind::conflict,
                fmt::format("{} is {} by its magic, and --delta would make a raw disk of "
                            "it\n  to do: name another file; if that is what you want, "
                            "add --format raw",
                            path_, format));
    }
    const std::string part = path_ + ".part";
    result_ = FileDescriptor(
        ::open(part.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kNewFileMode));
    if (!result_) return system_failure(fmt::format("cannot create {}", part));
    if (::flock(result_.get(), LOCK_EX | LOCK_NB) != 0 || !is_at(part, result_.get()))
        return failure(ErrorKind::conflict,
                       fmt::format("another export is writing {}; wait until it has ended", part));
    part_ = part;  // from here on it is ours to remove
    return take_part();
}

Result<> DeltaFile::take_part() {
    GOLDLINK_TRY_ASSIGN(const std::uint64_t left, length_of(result_.get(), part_));
    resumed_ = left > 0;
    if (resumed_) {
        base_is_result_ = true;
        base_bytes_ = std::min(left, disk_bytes_);
    } else if (old_bytes_ > 0) {
        base_is_result_ = ::ioctl(result_.get(), FICLONE, old_.get()) == 0;
        base_bytes_ = std::min(old_bytes_, disk_bytes_);
    }
    if (::ftruncate(result_.get(), static_cast<off_t>(disk_bytes_)) != 0)
        return system_failure(fmt::format("cannot size {}", part_));
    struct stat status {};
    if (old_ &&
        (::fstat(old_.get(), &status) != 0 || ::fchmod(result_.get(), status.st_mode & 07777) != 0))
        return system_failure(fmt::format("cannot give {} the mode of {}", part_, path_));
    return {};
}

DeltaFile::~DeltaFile() {
    if (result_ && !part_.empty() && !finished_) ::unlink(part_.c_str());
}

int DeltaFile::base_fd() const { return base_is_result_ ? result_.get() : old_.get(); }

Result<> DeltaFile::put(std::uint64_t chunk, Bytes bytes) {
    const std::uint64_t offset = chunk * kChunkBytes;
    const auto length =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), disk_bytes_ - offset));
    const std::string& name = part_.empty() ? path_ : part_;
    // A part that began empty has nothing where a chunk is put.
    if (base_fd() < 0)
        return write_with_holes(result_.get(), bytes.first(length), offset, kHoleBytes, name);
    return write_at(result_.get(), bytes.first(length), offset, name);
}

Result<> DeltaFile::put_zeros(std::uint64_t chunk) {
    const std::uint64_t offset = chunk * kChunkBytes;
    const std::uint64_t length = std::min<std::uint64_t>(kChunkBytes, disk_bytes_ - offset);
    if (!part_.empty()) {
        if (!base_is_result_) return {};  // it is a hole
        if (::fallocate(result_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(offset), static_cast<off_t>(length)) == 0)
            return {};
    }
    static const std::vector<std::uint8_t> zeros(kChunkBytes);
    return put(chunk, zeros);
}

Result<bool> DeltaFile::put_from_old(std::uint64_t chunk, const Digest& digest) {
    const std::uint64_t offset = chunk * kChunkBytes;
    if (!resumed_ || offset >= old_bytes_) return false;
    buffer_.assign(kChunkBytes, 0);
    const std::uint64_t length = std::min({kChunkBytes, old_bytes_ - offset, disk_bytes_ - offset});
    GOLDLINK_TRY_ASSIGN(
        const std::size_t got,
        read_at(old_.get(), std::span(buffer_).first(static_cast<std::size_t>(length)), offset,
                path_));
    if (got < length) return false;
    if (Hasher().hash(buffer_) != digest) return false;
    GOLDLINK_TRY(put(chunk, buffer_));
    return true;
}

Result<> DeltaFile::finish() {
    if (::fsync(result_.get()) != 0)
        return system_failure(fmt::format("cannot sync {}", part_.empty() ? path_ : part_));
    finished_ = true;
    if (part_.empty()) return {};
    auto named = is_new_ ? name_new_file(part_, path_) : Result<>();
    if (!is_new_ && ::rename(part_.c_str(), path_.c_str()) != 0)
        named = system_failure(fmt::format("cannot give {} its name {}", part_, path_));
    finished_ = named.has_value();
    return named ? sync_folder_of(path_) : named;
}

std::string DeltaFile::keep() {
    finished_ = true;
    if (part_.empty())
        return fmt::format("{} holds a mixture now: repeat the command to complete it", path_);
    return fmt::format("what came is kept in {}: the same command goes on from there", part_);
}

}  // namespace goldlink::cli
