#include "target/store/storage.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/file.hpp"

namespace goldlink::store {

namespace {

std::uint64_t filesystem_of(int fd) {
    struct statfs status {};
    return ::fstatfs(fd, &status) == 0 ? static_cast<std::uint64_t>(status.f_type) : 0;
}

constexpr std::uint64_t kXfsMagic = 0x58465342;

class PosixStorage final : public Storage {
  public:
    int open(const std::filesystem::path& path, bool create) override {
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
        return fd < 0 ? -errno : fd;
    }
    int open_read_only(const std::filesystem::path& path) override {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    int open_folder(const std::filesystem::path& path) override {
        const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    void close(int fd) override { ::close(fd); }
    std::int64_t size(int fd) override {
        struct stat status {};
        return ::fstat(fd, &status) == 0 ? status.st_size : -errno;
    }
    int truncate(int fd, std::uint64_t length) override {
        return ::ftruncate(fd, static_cast<off_t>(length)) == 0 ? 0 : -errno;
    }
    std::int64_t read(int fd, std::uint8_t* data, std::size_t length,
                      std::uint64_t offset) override {
        ssize_t n = 0;
        do n = ::pread(fd, data, length, static_cast<off_t>(offset));
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
    }
    int sync(int fd) override { return ::fdatasync(fd) == 0 ? 0 : -errno; }
    int sync_folder(int fd) override { return ::fsync(fd) == 0 ? 0 : -errno; }
    std::int64_t read_cached(int fd, const iovec* vectors, unsigned count, std::uint64_t offset,
                             bool in_memory) override {
        const int flags = in_memory ? 0 : RWF_NOWAIT;
        const ssize_t n =
            ::preadv2(fd, vectors, static_cast<int>(count), static_cast<off_t>(offset), flags);
        if (n >= 0) return n;
        // A filesystem without RWF_NOWAIT may block: the ring does that.
        return errno == EOPNOTSUPP || errno == EINTR ? -EAGAIN : -errno;
    }
    std::int64_t write(int fd, const iovec* vectors, unsigned count,
                       std::uint64_t offset) override {
        ssize_t n = 0;
        do n = ::pwritev(fd, vectors, static_cast<int>(count), static_cast<off_t>(offset));
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
    }
    int allocate(int fd, std::uint64_t offset, std::uint64_t length) override {
        int error = 0;
        do
            error = ::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0
                        ? 0
                        : errno;
        while (error == EINTR);
        if (error != EOPNOTSUPP) return -error;
        return ::ftruncate(fd, static_cast<off_t>(offset + length)) == 0 ? 0 : -errno;
    }
    int punch(int fd, std::uint64_t offset, std::uint64_t length) override {
        return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           static_cast<off_t>(offset), static_cast<off_t>(length)) == 0
                   ? 0
                   : -errno;
    }
    std::int64_t taken_bytes(int fd, std::uint64_t offset, std::uint64_t length) override {
        const std::uint64_t end = offset + length;
        std::int64_t taken = 0;
        while (offset < end) {
            const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
            if (data < 0) return errno == ENXIO ? taken : -errno;  // nothing but holes follows
            if (static_cast<std::uint64_t>(data) >= end) break;
            const off_t hole = ::lseek(fd, data, SEEK_HOLE);
            if (hole < 0) return -errno;
            offset = std::min(end, static_cast<std::uint64_t>(hole));
            taken += static_cast<std::int64_t>(offset) - data;
        }
        return taken;
    }
    bool memory_backed(int fd) override { return filesystem_of(fd) == TMPFS_MAGIC; }
    std::uint8_t* map(int fd, std::uint64_t length) override {
        // Where allocated space is ours for good, so that a store into it cannot meet a full disk.
        const std::uint64_t type = filesystem_of(fd);
        if (type != TMPFS_MAGIC && type != EXT4_SUPER_MAGIC && type != kXfsMagic) return nullptr;
        void* address =
            ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        return address == MAP_FAILED ? nullptr : static_cast<std::uint8_t*>(address);
    }
    int prepare_mapped(std::uint8_t* address, std::uint64_t length) override {
        // Faults the pages in where an error is a return value and not a SIGBUS.
        if (::madvise(address, length, MADV_POPULATE_WRITE) == 0) return 0;
        return errno == EINVAL ? 0 : -errno;  // kernels before 5.14
    }
    void unmap(std::uint8_t* address, std::uint64_t length) override { ::munmap(address, length); }

    bool exists(const std::filesystem::path& path) override {
        return ::access(path.c_str(), F_OK) == 0;
    }
    int make_folder(const std::filesystem::path& path) override {
        std::error_code error;
        std::filesystem::create_directories(path, error);
        return -error.value();
    }
    int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
        return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
    }
    int link(const std::filesystem::path& file, const std::filesystem::path& name) override {
        return ::link(file.c_str(), name.c_str()) == 0 ? 0 : -errno;
    }
    int remove(const std::filesystem::path& path) override {
        return ::unlink(path.c_str()) == 0 || errno == ENOENT ? 0 : -errno;
    }
    int list(const std::filesystem::path& folder, std::vector<std::string>& names) override {
        std::error_code error;
        for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
             entry.increment(error))
            names.push_back(entry->path().filename().string());
        return -error.value();
    }
    Space space(const std::filesystem::path& folder) override {
        struct statvfs status {};
        if (::statvfs(folder.c_str(), &status) != 0) return {};
        return {std::uint64_t{status.f_bavail} * status.f_frsize,
                std::uint64_t{status.f_blocks} * status.f_frsize};
    }
    std::string boot_id() override {
        auto id = read_file("/proc/sys/kernel/random/boot_id", 64);
        if (!id) return "";  // unknown: every open is then treated as after a power loss
        return id->substr(0, id->find('\n'));
    }
    std::string file_id(int fd) override {
        struct statx status {};
        if (::statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0) return "";
        const bool has_birth = (status.stx_mask & STATX_BTIME) != 0;
        return fmt::format("{:x}-{:x}-{:x}", status.stx_ino,
                           has_birth ? status.stx_btime.tv_sec : 0,
                           has_birth ? status.stx_btime.tv_nsec : 0);
    }
    std::int64_t now_us() override {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
    }
};

}  // namespace

std::string Storage::file_id(int) { return ""; }

Storage& posix_storage() {
    static PosixStorage storage;
    return storage;
}

Result<> sync_folder(Storage& storage, const std::filesystem::path& folder) {
    const int fd = storage.open_folder(folder);
    const int error = fd < 0 ? fd : storage.sync_folder(fd);
    if (fd >= 0) storage.close(fd);
    if (error < 0)
        return system_failure(fmt::format("cannot sync folder {}", folder.string()), -error);
    return {};
}

int write_all(Storage& storage, int fd, const std::uint8_t* data, std::size_t length,
              std::uint64_t offset) {
    while (length > 0) {
        const iovec vector{const_cast<std::uint8_t*>(data), length};
        const std::int64_t n = storage.write(fd, &vector, 1, offset);
        if (n < 0) return static_cast<int>(n);
        if (n == 0) return -EIO;
        data += n;
        offset += static_cast<std::uint64_t>(n);
        length -= static_cast<std::size_t>(n);
    }
    return 0;
}

std::int64_t Storage::taken_bytes(int, std::uint64_t, std::uint64_t) { return -EOPNOTSUPP; }

Result<> replace_file(Storage& storage, const std::filesystem::path& file,
                      std::string_view content) {
    const std::filesystem::path temporary = file.string() + ".new";
    const auto refused = [&](int error) {
        storage.remove(temporary);
        return system_failure(fmt::format("cannot write {}", file.string()), -error);
    };
    if (const int error = storage.remove(temporary); error < 0) return refused(error);
    const int fd = storage.open(temporary, true);
    if (fd < 0) return refused(fd);
    int error = write_all(storage, fd, reinterpret_cast<const std::uint8_t*>(content.data()),
                          content.size(), 0);
    if (error == 0) error = storage.sync(fd);
    storage.close(fd);
    if (error == 0) error = storage.rename(temporary, file);
    if (error < 0) return refused(error);
    return sync_folder(storage, file.parent_path());
}

}  // namespace goldlink::store
