#include "manager/cli/part_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace goldlink::cli {

Result<> check_is_new(const std::string& file) {
    if (::access(file.c_str(), F_OK) != 0) return {};
    return failure(ErrorKind::conflict, fmt::format("{} exists already; name a new file", file));
}

Result<> name_new_file(const std::string& part, const std::string& file) {
    if (::link(part.c_str(), file.c_str()) == 0) {
        ::unlink(part.c_str());
        return {};
    }
    // Some filesystems know no links.
    if (errno != EEXIST && ::rename(part.c_str(), file.c_str()) == 0) return {};
    return system_failure(fmt::format("cannot give {} its name {}", part, file));
}

}  // namespace goldlink::cli
