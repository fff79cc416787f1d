// Storage: the system calls that the image store makes on packs and manifests, and overlays on
// their files, as a seam: posix_storage() is the kernel, the simulation has a disk in memory that
// loses power, fills up and fails.
// Calls return a count or 0, or -errno. Asynchronous I/O on the same descriptors goes through the
// IoRing. Threads: any; an overlay's calls are its reactor's.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"

namespace goldlink::store {

struct Space {
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
};

class Storage {
  public:
    virtual ~Storage() = default;

    virtual int open(const std::filesystem::path& path, bool create) = 0;  // read-write; -errno
    virtual int open_read_only(const std::filesystem::path& path) = 0;
    virtual int open_folder(const std::filesystem::path& path) = 0;  // to sync it
    virtual void close(int fd) = 0;
    virtual std::int64_t size(int fd) = 0;
    virtual int truncate(int fd, std::uint64_t length) = 0;
    // Blocks; used when an overlay is opened.
    virtual std::int64_t read(int fd, std::uint8_t* data, std::size_t length,
                              std::uint64_t offset) = 0;
    virtual int sync(int fd) = 0;         // a file's data
    virtual int sync_folder(int fd) = 0;  // the names in it, which syncing data alone may leave out
    // Only what is in memory: -EAGAIN, or a short count, when the rest would have to be waited for.
    // `memory_backed`: the file is in tmpfs, where all of it is.
    virtual std::int64_t read_cached(int fd, const iovec* vectors, unsigned count,
                                     std::uint64_t offset, bool memory_backed) = 0;
    virtual std::int64_t write(int fd, const iovec* vectors, unsigned count,
                               std::uint64_t offset) = 0;
    // Makes space for [offset, offset + length), which becomes part of the file.
    virtual int allocate(int fd, std::uint64_t offset, std::uint64_t length) = 0;
    // Gives the space of [offset, offset + length) back, which reads as zero; the file stays as
    // long as it is. -EOPNOTSUPP where the filesystem cannot.
    virtual int punch(int fd, std::uint64_t offset, std::uint64_t length) = 0;
    // How much of [offset, offset + length) takes space; -EOPNOTSUPP where that is not known.
    virtual std::int64_t taken_bytes(int fd, std::uint64_t offset, std::uint64_t length);
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
    // A second name for a file, in the same filesystem; -EEXIST when the name is taken.
    virtual int link(const std::filesystem::path& file, const std::filesystem::path& name) = 0;
    virtual int remove(const std::filesystem::path& path) = 0;  // 0 when it did not exist
    // Adds the names of what is in the folder.
    virtual int list(const std::filesystem::path& folder, std::vector<std::string>& names) = 0;
    virtual Space space(const std::filesystem::path& folder) = 0;
    virtual std::string boot_id() = 0;  // changes when the machine starts anew
    // Tells an open file from its copies, under whatever name and mounted wherever; "": not known.
    virtual std::string file_id(int fd);
    virtual std::int64_t now_us() = 0;  // monotonic
};

Storage& posix_storage();

Result<> sync_folder(Storage& storage, const std::filesystem::path& folder);
// Replaces `file` durably: after a crash it has the old or the new content whole.
Result<> replace_file(Storage& storage, const std::filesystem::path& file,
                      std::string_view content);
// All of it, however many calls that takes.
int write_all(Storage& storage, int fd, const std::uint8_t* data, std::size_t length,
              std::uint64_t offset);

}  // namespace goldlink::store
