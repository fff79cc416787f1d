// Files: small ones whole, read bounded and replaced atomically and durably; of large ones a part,
// whole though the system does it in pieces. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink {

// An owned file descriptor; closes on destruction.
class FileDescriptor {
  public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept;
    ~FileDescriptor() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset();

  private:
    int fd_ = -1;
};

// Reads a file whole. A file larger than max_bytes is an error, not cut short.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes);

// Writes to a temporary file beside `path`, fsyncs it, renames it over `path` and fsyncs the
// folder: after a crash `path` holds the old or the new content whole.
Result<> replace_file(const std::filesystem::path& path, std::string_view content, int mode = 0644);

// Reads what there is of `into` from an offset on: less than asked only at the file's end. `name`
// is for errors, which say at which byte.
Result<std::size_t> read_at(int fd, std::span<std::uint8_t> into, std::uint64_t offset_bytes,
                            const std::string& name);
Result<> write_at(int fd, Bytes bytes, std::uint64_t offset_bytes, const std::string& name);

// fsyncs the folder that a file lies in, so that its name is durable.
Result<> sync_folder_of(const std::filesystem::path& file);

// mkdir -p with a clear error.
Result<> make_directories(const std::filesystem::path& path);

}  // namespace goldlink
