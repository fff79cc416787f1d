#include "target/store/unusable_file.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace goldlink::store {

namespace {

std::string user_name(uid_t uid) {
    std::array<char, 4096> buffer;
    struct passwd entry {
    }, *found = nullptr;
    ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    return found == nullptr ? std::to_string(uid) : std::string(entry.pw_name);
}

std::string group_name(gid_t gid) {
    std::array<char, 4096> buffer;
    struct group entry {
    }, *found = nullptr;
    ::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found);
    return found == nullptr ? std::to_string(gid) : std::string(entry.gr_name);
}

// The first part of the path that this process may not see, or the file.
std::filesystem::path refused_part(const std::filesystem::path& path) {
    std::filesystem::path part;
    struct stat status {};
    for (const auto& name : path) {
        const std::filesystem::path next = part / name;
        if (::stat(next.c_str(), &status) != 0) return part.empty() ? next : part;
        part = next;
    }
    return path;
}

std::string permissions(const std::filesystem::path& path) {
    const std::filesystem::path refused = refused_part(path);
    const std::string user = user_name(::geteuid());
    struct stat status {};
    if (::stat(refused.c_str(), &status) != 0) return "this program runs as user " + user;
    const bool folder = S_ISDIR(status.st_mode);
    return fmt::format(
        "{} belongs to {}:{} with mode {:04o}, this program runs as user {}: mend it with "
        "\"chown {} {} && chmod {} {}\"",
        refused.string(), user_name(status.st_uid), group_name(status.st_gid),
        status.st_mode & 07777, user, user, refused.string(), folder ? "u+rwx" : "u+rw",
        refused.string());
}

}  // namespace

Failure unusable_file(std::string_view what, const std::filesystem::path& path, int errno_value) {
    const std::string name = fmt::format("{} {}", what, path.string());
    const auto fail = [errno_value](ErrorKind kind, std::string message) {
        return Failure(Error{kind, std::move(message), errno_value});
    };
    switch (errno_value) {
        case ENOENT:
        case ENOTDIR:
            return fail(
                ErrorKind::not_found,
                fmt::format("{} is missing: it was moved, renamed or deleted; put it back, or "
                            "mend it with \"goldlink image repair IMAGE@VERSION --from FILE\"",
                            name));
        case EACCES:
        case EPERM:
            return fail(ErrorKind::denied,
                        fmt::format("access to {} is denied: {}", name, permissions(path)));
        case EISDIR:
            return fail(ErrorKind::io,
                        fmt::format("{} is a folder where a file must be; move it away and put "
                                    "the file back",
                                    name));
        default:
            return system_failure(fmt::format("cannot open {}", name), errno_value);
    }
}

}  // namespace goldlink::store
