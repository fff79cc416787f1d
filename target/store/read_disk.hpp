// How pure code reads a disk that somebody else holds.
#pragma once

#include <cstdint>
#include <functional>

#include "common/result.hpp"

namespace goldlink::store {

// Reads `length` bytes of the disk as it is, at an offset within it.
using ReadDisk =
    std::function<Result<>(std::uint64_t offset_bytes, std::uint8_t* data, std::uint64_t length)>;

}  // namespace goldlink::store
