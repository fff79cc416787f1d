#include "pxe/boot_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace goldlink::pxe {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxNames = 4096;
constexpr std::chrono::seconds kScanAge{1};
constexpr std::string_view kPackaged[] = {"undionly.kpxe", "snponly.efi", "ipxe.efi"};

// Where a link in the folder leads, when it may be followed.
Result<fs::path> follow(const fs::path& folder, std::string_view name) {
    std::error_code error;
    const fs::path target = fs::canonical(folder / name, error);
    if (error)
        return failure(
            ErrorKind::not_found,
            fmt::format("boot file {} in {} is a link that leads nowhere", name, folder.string()));
    const fs::path home = fs::canonical(folder, error);
    const bool inside = !error && target.parent_path() == home;
    const bool packaged =
        std::find(std::begin(kPackaged), std::end(kPackaged), name) != std::end(kPackaged) &&
        target.filename() == name;
    if (inside || packaged) return target;
    return failure(ErrorKind::denied,
                   fmt::format("boot file {} is a link to {}, outside of {}; copy the file there",
                               name, target.string(), folder.string()));
}

}  // namespace

bool is_boot_file_name(std::string_view name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '+' || c == '-';
    };
    return !name.empty() && name.size() <= 100 && name[0] != '.' &&
           std::all_of(name.begin(), name.end(), allowed);
}

Result<BootFile> BootFiles::open(std::string_view name) const {
    if (!is_boot_file_name(name))
        return failure(ErrorKind::denied,
                       "only plain file names of the boot files folder are served");
    BootFile file;
    file.path = (folder_ / name).string();
    // O_NONBLOCK: a FIFO somebody left there must not hold us.
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    file.fd = FileDescriptor(::open(file.path.c_str(), kFlags));
    if (!file.fd && errno == ELOOP) {
        GOLDLINK_TRY_ASSIGN(const fs::path target, follow(folder_, name));
        file.path = target.string();
        file.fd = FileDescriptor(::open(file.path.c_str(), kFlags));
    }
    if (!file.fd) return system_failure(fmt::format("cannot open boot file {}", file.path));
    struct stat status {};
    if (::fstat(file.fd.get(), &status) != 0)
        return system_failure(fmt::format("cannot inspect boot file {}", file.path));
    if (!S_ISREG(status.st_mode))
        return failure(ErrorKind::denied, fmt::format("{} is not a regular file", file.path));
    file.bytes = static_cast<std::uint64_t>(status.st_size);
    return file;
}

FileNames BootFiles::scan() const {
    FileNames names;
    std::error_code error;
    for (auto entry = fs::directory_iterator(folder_, error);
         !error && entry != fs::directory_iterator() && names.size() < kMaxNames;
         entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (open(name)) names.insert(name);
    }
    return names;
}

FileNames BootFiles::names() const {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (scanned_at_ == std::chrono::steady_clock::time_point{} || now - scanned_at_ > kScanAge) {
        names_ = scan();
        scanned_at_ = now;
    }
    return names_;
}

}  // namespace goldlink::pxe
