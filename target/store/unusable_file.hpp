// What to tell an admin of a file of the image store that is gone or that we may not use. Threads:
// any.
#pragma once

#include <filesystem>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::store {

// `what` is "pack" or "manifest"; `errno_value` is what opening it gave. The message has the path,
// for permissions its owner, mode and the user that we run as, and the command that mends it.
Failure unusable_file(std::string_view what, const std::filesystem::path& path, int errno_value);

}  // namespace goldlink::store
