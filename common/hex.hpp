// Hex, base64 and random text. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink {

std::string to_hex(Bytes bytes);                                   // lower case
Result<std::vector<std::uint8_t>> from_hex(std::string_view hex);  // either case, even length
std::string to_base64(Bytes bytes);                                // RFC 4648 section 4, padded

// Text from the system's random generator. `random_uuid` is version 4; `random_secret` draws from
// letters and digits that cannot be mistaken for each other when read aloud.
std::string random_uuid();
std::string random_secret(std::size_t length);
bool is_uuid(std::string_view text);

// Compares in time that depends on the lengths alone.
bool equal_constant_time(std::string_view a, std::string_view b);

}  // namespace goldlink
