#include "common/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace goldlink {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

void FileDescriptor::reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_failure(fmt::format("cannot open {}", path.string()));
    std::string content;
    char buffer[16384];
    for (;;) {
        const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot read {}", path.string()));
        if (n == 0) return content;
        content.append(buffer, static_cast<std::size_t>(n));
        if (content.size() > max_bytes)
            return failure(ErrorKind::invalid,
                           fmt::format("{} is larger than the {} bytes it may have", path.string(),
                                       max_bytes));
    }
}

namespace {

Result<> write_all(int fd, std::string_view content, const std::string& name) {
    while (!content.empty()) {
        const ssize_t n = ::write(fd, content.data(), content.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot write {}", name));
        content.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace

Result<> replace_file(const std::filesystem::path& path, std::string_view content, int mode) {
    const std::string temporary = path.string() + ".new";
    {
        FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                                 static_cast<mode_t>(mode)));
        if (!fd) return system_failure(fmt::format("cannot create {}", temporary));
        if (::fchmod(fd.get(), static_cast<mode_t>(mode)) != 0)
            return system_failure(fmt::format("cannot set the mode of {}", temporary));
        GOLDLINK_TRY(write_all(fd.get(), content, temporary));
        if (::fsync(fd.get()) != 0) return system_failure(fmt::format("cannot sync {}", temporary));
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0)
        return system_failure(fmt::format("cannot rename {} to {}", temporary, path.string()));
    return sync_folder_of(path);
}

Result<std::size_t> read_at(int fd, std::span<std::uint8_t> into, std::uint64_t offset_bytes,
                            const std::string& name) {
    std::size_t done = 0;
    while (done < into.size()) {
        const ssize_t n = ::pread(fd, into.data() + done, into.size() - done,
                                  static_cast<off_t>(offset_bytes + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return system_failure(
                fmt::format("cannot read {} at byte {}", name, offset_bytes + done));
        if (n == 0) break;
        done += static_cast<std::size_t>(n);
    }
    return done;
}

Result<> write_at(int fd, Bytes bytes, std::uint64_t offset_bytes, const std::string& name) {
    while (!bytes.empty()) {
        const ssize_t n =
            ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return system_failure(fmt::format("cannot write {} at byte {}", name, offset_bytes));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset_bytes += static_cast<std::uint64_t>(n);
    }
    return {};
}

Result<> sync_folder_of(const std::filesystem::path& file) {
    const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
    const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0)
        return system_failure(fmt::format("cannot sync folder {}", folder.string()));
    return {};
}

Result<> make_directories(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error)
        return system_failure(fmt::format("cannot create folder {}", path.string()), error.value());
    return {};
}

}  // namespace goldlink
