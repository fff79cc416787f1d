#include "common/mac.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/hex.hpp"

namespace goldlink {

std::string Mac::to_string() const {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                       bytes[3], bytes[4], bytes[5]);
}

Result<Mac> Mac::parse(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return failure(
            ErrorKind::invalid,
            fmt::format("\"{}\" is not a MAC address: {}; write it like 52:54:00:12:34:56",
                        text.substr(0, 64), why));
    };
    std::string digits;
    for (const char c : text.substr(0, 64))
        if (c != ':' && c != '-' && c != '.') digits.push_back(c);
    const auto bytes = from_hex(digits);
    if (!bytes || bytes->size() != 6) return refuse("it needs twelve hex digits");
    Mac mac;
    std::copy(bytes->begin(), bytes->end(), mac.bytes.begin());
    if (mac.bytes[0] & 1) return refuse("that is a multicast address");
    if (mac == Mac{}) return refuse("that is the empty address");
    return mac;
}

}  // namespace goldlink
