// A file while it comes: FILE.part beside the wanted one, which takes its name when it is whole.
#pragma once

#include <cstddef>
#include <string>

#include "common/result.hpp"

namespace goldlink::cli {

inline constexpr std::size_t kHoleBytes = 4096;  // blocks of zeros of it become holes

// Refuses a file that is there.
Result<> check_is_new(const std::string& file);
// Does not replace what somebody else put there meanwhile.
Result<> name_new_file(const std::string& part, const std::string& file);

}  // namespace goldlink::cli
