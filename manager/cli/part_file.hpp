// A file while it comes: FILE.part beside the wanted one, which takes its name when it is whole.
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink::cli {

// Writes to where nothing was written yet: blocks of zeros (4 KiB) are left as holes, what lies
// between them is written in one go.
Result<> write_with_holes(int fd, Bytes bytes, std::uint64_t offset, const std::string& name);

// Refuses a file that is there.
Result<> check_is_new(const std::string& file);
// Does not replace what somebody else put there meanwhile.
Result<> name_new_file(const std::string& part, const std::string& file);

}  // namespace goldlink::cli
