#include "common/source_guard.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <optional>

#include "common/file.hpp"

namespace goldlink {

namespace {

// QEMU (block/file-posix.c, RAW_LOCK_PERM_BASE) locks byte 100 + n of an image for each thing n it
// may do with it: 1 is writing, 3 resizing.
constexpr off_t kQemuWrites = 101, kQemuResizes = 103;

// Whether taking such a lock would meet another one. Locks that one lets be are not seen: this
// takes none.
bool meets_lock(int fd, short type, off_t start, off_t length) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool is_locked_for_writing(int fd) {
    return meets_lock(fd, F_WRLCK, kQemuWrites, 1) || meets_lock(fd, F_WRLCK, kQemuResizes, 1) ||
           meets_lock(fd, F_RDLCK, 0, 0);  // a write lock of anybody
}

bool opened_for_writing(const std::filesystem::path& fdinfo) {
    const auto text = read_file(fdinfo.string(), 4096);  // "pos:\t0\nflags:\t0100002\n..."
    if (!text) return false;
    const auto at = text->find("flags:\t");
    if (at == std::string::npos) return false;
    unsigned flags = 0;
    const char* const begin = text->data() + at + 7;
    std::from_chars(begin, text->data() + text->size(), flags, 8);
    return (flags & O_ACCMODE) != O_RDONLY;
}

// "qemu-system-x86, process 4711"; nullopt where we may not see it. Open file description locks
// do not say whose they are, so the processes are gone through.
std::optional<std::string> writer_of(const struct stat& file) {
    std::error_code error;
    for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
        const std::string pid = process.path().filename().string();
        if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
        std::error_code hidden;
        for (const auto& entry :
             std::filesystem::directory_iterator(process.path() / "fd", hidden)) {
            struct stat other {};
            if (::stat(entry.path().c_str(), &other) != 0 || other.st_ino != file.st_ino ||
                other.st_dev != file.st_dev ||
                !opened_for_writing(process.path() / "fdinfo" / entry.path().filename()))
                continue;
            auto name = read_file((process.path() / "comm").string(), 64);
            if (!name) return fmt::format("process {}", pid);
            std::erase_if(*name, [](char c) { return c < ' '; });
            return fmt::format("{}, process {}", *name, pid);
        }
    }
    return std::nullopt;
}

// What fstat() says of a block device is not its size.
std::int64_t length_of(int fd, const struct stat& status) {
    return S_ISREG(status.st_mode) ? status.st_size : ::lseek(fd, 0, SEEK_END);
}

}  // namespace

Result<SourceGuard> SourceGuard::begin(int fd, std::string name) {
    SourceGuard guard(fd, std::move(name));
    if (::fstat(fd, &guard.begun_) != 0)
        return system_failure(fmt::format("cannot look at {}", guard.name_));
    if (S_ISREG(guard.begun_.st_mode) && is_locked_for_writing(fd))
        return failure(
            ErrorKind::conflict,
            fmt::format("{} is open for writing in another program ({}). Shut down the virtual "
                        "machine whose disk it is, or take a copy of its disk; then import that",
                        guard.name_, writer_of(guard.begun_).value_or("one of another user")));
    guard.bytes_ = length_of(fd, guard.begun_);
    return guard;
}

Result<> SourceGuard::check() const {
    struct stat now {};
    if (::fstat(fd_, &now) != 0) return system_failure(fmt::format("cannot look at {}", name_));
    const std::int64_t bytes = length_of(fd_, now);
    if (bytes != bytes_)
        return failure(ErrorKind::conflict,
                       fmt::format("{} had {} bytes when it was opened and has {} now: stop what "
                                   "changes it (a copy that still goes on?), then import it again",
                                   name_, bytes_, bytes));
    if (!S_ISREG(now.st_mode) || (now.st_mtim.tv_sec == begun_.st_mtim.tv_sec &&
                                  now.st_mtim.tv_nsec == begun_.st_mtim.tv_nsec))
        return {};
    const auto writer = writer_of(now);
    return failure(
        ErrorKind::conflict,
        fmt::format("{} was written to while it was read, so that what came may be of before and "
                    "of after: stop what writes to it ({}), then import it again",
                    name_, writer ? *writer : "a virtual machine?"));
}

}  // namespace goldlink
