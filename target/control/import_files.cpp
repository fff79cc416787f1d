#include "target/control/import_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "common/digest.hpp"
#include "common/file.hpp"

namespace goldlink::control {
namespace {

constexpr std::string_view kDigestOf = "sha256:", kParent = "parent:";

Result<Digest> digest_of(const std::filesystem::path& file, store::ArrivingDisk* arriving,
                         store::Progress& progress) {
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_failure(fmt::format("cannot open {}", file.string()));
    if (arriving != nullptr && arriving->is_of(fd.get()))
        if (auto known = arriving->sha256(progress)) return known;
    std::vector<std::uint8_t> buffer(1 << 20);
    Hasher hasher;
    hasher.start();
    for (;;) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the import was cancelled");
        const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot read {}", file.string()));
        if (n == 0) return hasher.finish();
        hasher.add(Bytes(buffer).first(static_cast<std::size_t>(n)));
    }
}

}  // namespace

Result<store::ImportRequest> import_request(const TaskRequest& task,
                                            const TransferFolders& folders) {
    const auto& arguments = task.arguments;
    store::ImportRequest import;
    if (const auto format = arguments.find("format"); format != arguments.end())
        import.format = format->second;
    if (const auto upload = arguments.find("upload"); upload != arguments.end()) {
        const auto file = arguments.find("file");
        if (file == arguments.end()) {
            GOLDLINK_TRY_ASSIGN(import.file, folders.uploads.find(upload->second));
            return import;
        }
        GOLDLINK_TRY_ASSIGN(import.file, folders.uploads.find(upload->second, file->second));
        GOLDLINK_TRY_ASSIGN(const auto files, folders.uploads.files(upload->second));
        for (const SpooledFile& other : files)
            if (other.name != file->second)
                import.companions.push_back(import.file.parent_path() / other.name);
        return import;
    }
    if (const auto path = arguments.find("server_path"); path != arguments.end()) {
        GOLDLINK_TRY_ASSIGN(import.file, folders.server_paths.check(path->second));
        import.beside = true;
        for (const auto& [name, value] : arguments) {
            if (!name.starts_with(kParent)) continue;
            GOLDLINK_TRY_ASSIGN(auto parent, folders.server_paths.check(value));
            import.companions.push_back(std::move(parent));
        }
        return import;
    }
    import.file = arguments.at("path");
    return import;
}

std::optional<ExpectedImage> expected_image(const http::Request& request, std::string name,
                                            Arrivals& arrivals, std::string key,
                                            std::uint64_t file_bytes) {
    if (request.query_value("image") != "1") return std::nullopt;
    if (name.empty()) name = "the uploaded file";
    ExpectedImage expected{std::move(name), request.query_value("format")};
    // A repair says what was bad, so nothing is mended before it looks.
    if (request.query_value("repair") == "1") return expected;
    expected.arrived = [&arrivals, key = std::move(key), file_bytes](int fd, std::uint64_t bytes) {
        arrivals.arrived(key, fd, bytes, file_bytes);
    };
    return expected;
}

std::shared_ptr<store::ArrivingDisk> take_arriving(const TaskRequest& task, Arrivals& arrivals) {
    const auto upload = task.arguments.find("upload");
    if (upload == task.arguments.end()) return nullptr;
    const auto file = task.arguments.find("file");
    return arrivals.take(
        Arrivals::key_of(upload->second, file == task.arguments.end() ? "" : file->second));
}

Result<> check_digests(const TaskRequest& task, const UploadSpool& uploads,
                       store::ArrivingDisk* arriving, store::Progress& progress) {
    for (const auto& [name, expected] : task.arguments) {
        if (!name.starts_with(kDigestOf)) continue;
        const std::string file = name.substr(kDigestOf.size());
        GOLDLINK_TRY_ASSIGN(const auto path, uploads.find(task.arguments.at("upload"), file));
        GOLDLINK_TRY_ASSIGN(const auto found, digest_of(path, arriving, progress));
        if (to_hex(found) != expected)
            return failure(ErrorKind::corrupt,
                           fmt::format("{} did not arrive as it was sent: its SHA-256 is {}, the "
                                       "sender's {}. Was it changed on the way? Import it again",
                                       file, to_hex(found), expected));
    }
    return {};
}

}  // namespace goldlink::control
