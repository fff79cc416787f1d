// An Ethernet address, as admins write it (colons, dashes, dots or bare) and as the wire has it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink {

struct Mac {
    std::array<std::uint8_t, 6> bytes{};

    auto operator<=>(const Mac&) const = default;
    std::string to_string() const;  // "52:54:00:ab:cd:ef"

    // Refuses multicast, all-zero and malformed addresses.
    static Result<Mac> parse(std::string_view text);
};

}  // namespace goldlink
