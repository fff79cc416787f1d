#include "manager/cli/part_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/file.hpp"

namespace goldlink::cli {

namespace {

constexpr std::size_t kHoleBytes = 4096;

bool is_zero(Bytes block) {
    return block.front() == 0 && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

}  // namespace

Result<> write_with_holes(int fd, Bytes bytes, std::uint64_t offset, const std::string& name) {
    while (!bytes.empty()) {
        std::size_t data = 0, zeros = 0;
        while (data + zeros < bytes.size() && zeros == 0) {
            const std::size_t block =
                std::min(bytes.size() - data,
                         kHoleBytes - static_cast<std::size_t>((offset + data) % kHoleBytes));
            (is_zero(bytes.subspan(data, block)) ? zeros : data) += block;
        }
        if (data > 0) GOLDLINK_TRY(write_at(fd, bytes.first(data), offset, name));
        offset += data + zeros;
        bytes = bytes.subspan(data + zeros);
    }
    return {};
}

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
