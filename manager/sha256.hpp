// SHA-256 of a text as 64 lower-case hex digits. Threads: any.
#pragma once

#include <string>
#include <string_view>

namespace goldlink::manager {

std::string sha256_hex(std::string_view text);

}  // namespace goldlink::manager
