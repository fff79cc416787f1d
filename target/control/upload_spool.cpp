#include "target/control/upload_spool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/image_magic.hpp"
#include "common/image_verdict.hpp"
#include "common/log.hpp"
#include "common/sparse_write.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::size_t kBufferBytes = 16 * kBlockBytes;

Result<> check_name(std::string_view name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || name.size() > 128 || name.front() == '.' ||
        !std::all_of(name.begin(), name.end(), allowed))
        return failure(
            ErrorKind::invalid,
            fmt::format(
                "upload name '{}' must have 1 to 128 letters, digits, '-', '_' or '.', and not "
                "start with a dot",
                name.substr(0, 128)));
    return {};
}

Result<> check_file_name(const std::string& name) {
    const bool control = std::any_of(name.begin(), name.end(),
                                     [](char c) { return static_cast<unsigned char>(c) < 0x20; });
    if (name.empty() || name.size() > 255 || name.front() == '.' || control ||
        name.find_first_of("/\\") != std::string::npos)
        return failure(ErrorKind::invalid,
                       fmt::format("'{}' is no name for a file of an upload: it is 1 to 255 bytes "
                                   "without any '/' or '\\', and does not start with a dot",
                                   control ? "" : name.substr(0, 100)));
    return {};
}

Result<> write_sparse(int fd, std::string_view bytes, std::uint64_t offset_bytes) {
    return write_with_holes(fd, as_bytes(bytes), offset_bytes, kBlockBytes, "the upload");
}

}  // namespace

std::uint64_t free_bytes_at(const std::filesystem::path& path) {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) return 0;
    return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

std::uint64_t disk_bytes(const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return 0;
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

Result<> UploadSpool::open() {
    GOLDLINK_TRY(make_directories(folder_));
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error))
        if (entry.path().filename().string().starts_with("."))
            std::filesystem::remove(entry.path(), error);
    remove_left_overs();
    return {};
}

void UploadSpool::remove_left_overs() const {
    std::error_code error;
    const auto oldest = std::filesystem::file_time_type::clock::now() - kKeepLeftOvers;
    const auto touched_since = [&](const std::filesystem::path& path) {
        const auto when = std::filesystem::last_write_time(path, error);
        return error || when > oldest;
    };
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        bool wanted = touched_since(entry.path());
        if (!wanted && entry.is_directory())
            for (const auto& file : std::filesystem::directory_iterator(entry.path(), error))
                wanted = wanted || touched_since(file.path());
        if (wanted) continue;
        log::info("removing {}: nothing was added to this upload for {} hours",
                  entry.path().string(), kKeepLeftOvers.count());
        std::filesystem::remove_all(entry.path(), error);
    }
}

Result<store::SpaceClaim> UploadSpool::claim(std::string_view name,
                                             std::uint64_t coming_bytes) const {
    return space_.claim(folder_, coming_bytes, fmt::format("the upload {}", name));
}

Result<std::uint64_t> UploadSpool::copy(
    http::BodyReader& body, int fd, std::uint64_t offset_bytes, std::uint64_t at_most,
    store::SpaceClaim& space, Error* error,
    const std::function<void(int fd, std::uint64_t bytes)>& arrived) {
    std::vector<char> buffer(kBufferBytes);
    std::uint64_t total = 0;
    for (bool more = true; more;) {
        std::size_t filled = 0;
        while (filled < buffer.size()) {
            auto n = body.read(std::span(buffer).subspan(filled));
            if (!n) {
                *error = std::move(n).error();
                more = false;
                break;
            }
            if (*n == 0) break;
            filled += *n;
        }
        if (filled > at_most - total)
            return failure(ErrorKind::invalid, "more bytes come than the upload is to have");
        GOLDLINK_TRY(space.spend(filled));
        if (filled > 0)
            GOLDLINK_TRY(
                write_sparse(fd, std::string_view(buffer.data(), filled), offset_bytes + total));
        total += filled;
        if (::ftruncate(fd, static_cast<off_t>(offset_bytes + total)) != 0)
            return system_failure("cannot set the upload's length");
        if (arrived) arrived(fd, offset_bytes + total);
        if (filled < buffer.size()) break;
    }
    return total;
}

Result<std::uint64_t> UploadSpool::copy_beginning(http::BodyReader& body, int fd,
                                                  std::uint64_t offset_bytes,
                                                  std::uint64_t total_bytes,
                                                  const ExpectedImage& expected, Error* error) {
    const auto wanted = std::min<std::uint64_t>(kMagicFirstBytes, total_bytes);
    if (offset_bytes >= wanted) return std::uint64_t{0};
    std::vector<char> buffer(static_cast<std::size_t>(wanted - offset_bytes));
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        auto n = body.read(std::span(buffer).subspan(filled));
        if (!n) *error = std::move(n).error();
        if (!n || *n == 0) break;
        filled += *n;
    }
    GOLDLINK_TRY(write_sparse(fd, std::string_view(buffer.data(), filled), offset_bytes));
    if (::ftruncate(fd, static_cast<off_t>(offset_bytes + filled)) != 0)
        return system_failure("cannot set the upload's length");
    if (filled < buffer.size()) return filled;
    std::vector<std::uint8_t> first(static_cast<std::size_t>(wanted));
    GOLDLINK_TRY(read_at(fd, first, 0, "the upload"));
    GOLDLINK_TRY(check_importable({expected.name, total_bytes, first, {}}, expected.format));
    return filled;
}

Result<std::uint64_t> UploadSpool::copy_image(http::BodyReader& body, int fd,
                                              std::uint64_t offset_bytes, std::uint64_t total_bytes,
                                              const std::optional<ExpectedImage>& expected,
                                              store::SpaceClaim& space, Error* error) {
    std::uint64_t begun = 0;
    if (expected) {
        GOLDLINK_TRY_ASSIGN(begun,
                            copy_beginning(body, fd, offset_bytes, total_bytes, *expected, error));
        if (!error->message.empty()) return begun;
    }
    GOLDLINK_TRY_ASSIGN(
        const std::uint64_t more,
        copy(body, fd, offset_bytes + begun, total_bytes - offset_bytes - begun, space, error,
             expected ? expected->arrived : std::function<void(int, std::uint64_t)>()));
    return begun + more;
}

Result<std::uint64_t> UploadSpool::receive(std::string_view name, http::BodyReader& body,
                                           const std::optional<ExpectedImage>& expected) {
    GOLDLINK_TRY(check_name(name));
    GOLDLINK_TRY_ASSIGN(auto space, claim(name, body.declared_length()));
    const std::filesystem::path part = folder_ / ("." + std::string(name) + "." + random_uuid());
    FileDescriptor fd(::open(part.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return system_failure(fmt::format("cannot create {}", part.string()));
    Error broken;
    const std::uint64_t declared = body.declared_length();
    auto received = declared == 0
                        ? copy(body, fd.get(), 0, ~std::uint64_t{0}, space, &broken)
                        : copy_image(body, fd.get(), 0, declared, expected, space, &broken);
    if (received && !broken.message.empty()) received = Failure(std::move(broken));
    if (received && ::fdatasync(fd.get()) != 0) received = system_failure("cannot sync the upload");
    std::error_code error;
    if (received) {
        std::filesystem::rename(part, folder_ / name, error);
        if (error)
            received =
                system_failure(fmt::format("cannot name the upload {}", name), error.value());
    }
    if (!received) {
        std::error_code ignored;
        std::filesystem::remove(part, ignored);
        return Failure(
            std::move(received).error().with_context(fmt::format("upload {} is dropped", name)));
    }
    return received;
}

Result<> UploadSpool::remove(std::string_view name) {
    GOLDLINK_TRY(check_name(name));
    std::error_code error;
    std::filesystem::remove_all(folder_ / name, error);
    if (error) return system_failure(fmt::format("cannot delete upload {}", name), error.value());
    return {};
}

std::vector<SpooledFile> UploadSpool::list() const {
    std::vector<SpooledFile> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        SpooledFile upload{entry.path().filename().string(), 0};
        if (upload.name.starts_with(".")) continue;
        if (!entry.is_directory(error)) {
            upload.bytes = disk_bytes(entry.path());
        } else {
            for (const auto& file : std::filesystem::directory_iterator(entry.path(), error))
                upload.bytes += disk_bytes(file.path());
        }
        found.push_back(std::move(upload));
    }
    std::sort(found.begin(), found.end(),
              [](const SpooledFile& a, const SpooledFile& b) { return a.name < b.name; });
    return found;
}

Result<std::filesystem::path> UploadSpool::find(std::string_view name) const {
    GOLDLINK_TRY(check_name(name));
    std::error_code error;
    if (!std::filesystem::is_regular_file(folder_ / name, error))
        return failure(ErrorKind::not_found, fmt::format("there is no upload named {}", name));
    return folder_ / name;
}

Result<std::uint64_t> UploadSpool::append(std::string_view set, const std::string& file,
                                          std::uint64_t offset_bytes, std::uint64_t total_bytes,
                                          http::BodyReader& body,
                                          const std::optional<ExpectedImage>& expected) {
    GOLDLINK_TRY(check_name(set));
    GOLDLINK_TRY(check_file_name(file));
    if (offset_bytes > total_bytes || body.declared_length() > total_bytes - offset_bytes)
        return failure(ErrorKind::invalid,
                       fmt::format("{} is to have {} bytes, and more come", file, total_bytes));
    GOLDLINK_TRY_ASSIGN(auto space, claim(file, total_bytes - offset_bytes));
    remove_left_overs();
    GOLDLINK_TRY_ASSIGN(const auto present, files(set));
    if (present.size() >= kMaxSetFiles)
        return failure(ErrorKind::exhausted,
                       fmt::format("an upload may have {} files", kMaxSetFiles));
    GOLDLINK_TRY(make_directories(folder_ / set));
    const FileDescriptor fd(
        ::open((folder_ / set / file).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return system_failure(fmt::format("cannot open {} of upload {}", file, set));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
        return failure(
            ErrorKind::conflict,
            fmt::format("another request is still sending {}; try again in a moment", file));
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        return system_failure(fmt::format("cannot examine {} of upload {}", file, set));
    if (const auto there = static_cast<std::uint64_t>(status.st_size); there != offset_bytes)
        return failure(ErrorKind::conflict,
                       fmt::format("{} bytes of {} have arrived; go on from there, not from {}",
                                   there, file, offset_bytes));
    Error broken;
    GOLDLINK_TRY_ASSIGN(
        const std::uint64_t added,
        copy_image(body, fd.get(), offset_bytes, total_bytes, expected, space, &broken));
    if (!broken.message.empty())
        return Failure(std::move(broken).with_context(
            fmt::format("{} bytes of {} have arrived", offset_bytes + added, file)));
    if (offset_bytes + added == total_bytes && ::fdatasync(fd.get()) != 0)
        return system_failure("cannot sync the upload");
    return offset_bytes + added;
}

Result<std::vector<SpooledFile>> UploadSpool::files(std::string_view set) const {
    GOLDLINK_TRY(check_name(set));
    std::vector<SpooledFile> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / set, error))
        found.push_back({entry.path().filename().string(), entry.file_size(error)});
    std::sort(found.begin(), found.end(),
              [](const SpooledFile& a, const SpooledFile& b) { return a.name < b.name; });
    return found;
}

Result<std::filesystem::path> UploadSpool::find(std::string_view set,
                                                const std::string& file) const {
    GOLDLINK_TRY(check_name(set));
    GOLDLINK_TRY(check_file_name(file));
    std::error_code error;
    if (!std::filesystem::is_regular_file(folder_ / set / file, error))
        return failure(ErrorKind::not_found,
                       fmt::format("there is no file {} in upload {}", file, set));
    return folder_ / set / file;
}

}  // namespace goldlink::control
