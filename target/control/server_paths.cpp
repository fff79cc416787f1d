#include "target/control/server_paths.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "common/file.hpp"

namespace goldlink::control {
namespace {

// openat2(2): neither "..", nor an absolute path, nor any symbolic link is followed.
FileDescriptor open_below(int folder, const std::string& relative) {
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    return FileDescriptor(
        static_cast<int>(::syscall(SYS_openat2, folder, relative.c_str(), &how, sizeof how)));
}

}  // namespace

Result<std::filesystem::path> ServerPaths::check(const std::string& path) const {
    if (folders_.empty())
        return failure(ErrorKind::denied,
                       "this server imports no files of its own: its admin allows a folder with "
                       "--import-dir DIR (of goldlink up, or goldlink-target)");
    const std::filesystem::path wanted = std::filesystem::path(path).lexically_normal();
    for (const auto& folder : folders_) {
        const auto relative = wanted.lexically_relative(folder.lexically_normal());
        if (relative.empty() || *relative.begin() == ".." || relative == ".") continue;
        const FileDescriptor root(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!root) continue;
        const FileDescriptor fd = open_below(root.get(), relative.string());
        if (!fd && errno == ELOOP)
            return failure(ErrorKind::denied,
                           fmt::format("{} is, or lies behind, a symbolic link, which is not "
                                       "followed; name the file itself",
                                       path));
        if (!fd) return system_failure(fmt::format("cannot open {} on the server", path));
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode))
            return failure(ErrorKind::invalid, fmt::format("{} is no file", path));
        return folder.lexically_normal() / relative;
    }
    std::vector<std::string> names;
    for (const auto& folder : folders_) names.push_back(folder.string());
    return failure(ErrorKind::denied,
                   fmt::format("{} is in no folder that this server imports from; put it below {}",
                               path, fmt::join(names, " or ")));
}

}  // namespace goldlink::control
