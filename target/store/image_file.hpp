// ImageFile: an open file whose headers are looked at, by those who know a format each.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::store {

inline constexpr std::uint64_t kSectorBytes = 512;

struct ImageFile {
    int fd;
    const std::string& name;  // for messages
    std::uint64_t size_bytes;

    // Bytes past the end read as zero, so that a short file has no magic rather than an error.
    Result<std::vector<std::uint8_t>> read(std::uint64_t offset, std::size_t length) const {
        std::vector<std::uint8_t> bytes(length);
        GOLDLINK_TRY(read_at(fd, bytes, offset, name));
        return bytes;
    }
};

// Refuses what is no file, or has no bytes.
Result<ImageFile> examine_image(int fd, const std::string& name);

inline Failure refuse(const ImageFile& file, std::string_view why) {
    return failure(ErrorKind::invalid, fmt::format("{} {}", file.name, why));
}

}  // namespace goldlink::store
