// Storage: the system calls that overlays make on their files, as a seam: posix_storage() is the
// kernel, the simulation has a disk in memory that loses power, fills up and fails.
// Calls return a count or 0, or -errno. Asynchronous I/O on the same descriptors goes through the
// IoRing. Used on the reactor's thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace goldlink::disk {

struct Space {
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
};

class Storage {
  public:
    virtual ~Storage() = default;

    virtual int open(const std::filesystem::path& path, bool create) = 0;  // read-write; -errno
    virtual int open_folder(const std::filesystem::path& path) = 0;        // to sync it
    virtual void close(int fd) = 0;
    virtual std::int64_t size(int fd) = 0;
    virtual int truncate(int fd, std::uint64_t length) = 0;
    // Blocks; used when an overlay is opened.
    virtual std::int64_t read(int fd, std::uint8_t* data, std::size_t length,
                              std::uint64_t offset) = 0;
    virtual int sync(int fd) = 0;
    // Only what is in memory: -EAGAIN, or a short count, when the rest would have to be waited for.
    // `memory_backed`: the file is in tmpfs, where all of it is.
    virtual std::int64_t read_cached(int fd, const iovec* vectors, unsigned count,
                                     std::uint64_t offset, bool memory_backed) = 0;
    virtual std::int64_t write(int fd, const iovec* vectors, unsigned count,
                               std::uint64_t offset) = 0;
    // Makes space for [offset, offset + length), which becomes part of the file.
    virtual int allocate(int fd, std::uint64_t offset, std::uint64_t length) = 0;
    virtual bool memory_backed(int fd) = 0;
    // The file's first `length` bytes as memory that outlives this process in the page cache, or
    // null where touching it could fail. What lies past the end of the file must not be touched;
    // what was newly allocated must be passed to prepare_mapped first.
    virtual std::uint8_t* map(int fd, std::uint64_t length) = 0;
    virtual int prepare_mapped(std::uint8_t* address, std::uint64_t length) = 0;
    virtual void unmap(std::uint8_t* address, std::uint64_t length) = 0;

    virtual bool exists(const std::filesystem::path& path) = 0;
    virtual int make_folder(const std::filesystem::path& path) = 0;
    virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
    virtual int remove(const std::filesystem::path& path) = 0;  // 0 when it did not exist
    virtual Space space(const std::filesystem::path& folder) = 0;
    virtual std::string boot_id() = 0;  // changes when the machine starts anew
    virtual std::int64_t now_us() = 0;  // monotonic
};

Storage& posix_storage();

}  // namespace goldlink::disk
