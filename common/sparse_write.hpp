// Writes that leave holes, in files where nothing was written yet.
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink {

// Blocks of `hole_bytes` of the file that would be all zeros are left out; what lies between them
// is written in one go. `name` is for messages.
Result<> write_with_holes(int fd, Bytes bytes, std::uint64_t offset, std::size_t hole_bytes,
                          const std::string& name);

}  // namespace goldlink
