#include "pxe/ipv4.hpp"

#include <fmt/format.h>

#include <charconv>

namespace goldlink::pxe {

std::string Ipv4::to_string() const {
    return fmt::format("{}.{}.{}.{}", value >> 24, (value >> 16) & 0xff, (value >> 8) & 0xff,
                       value & 0xff);
}

Result<Ipv4> Ipv4::parse(std::string_view text) {
    const auto refuse = [&] {
        return failure(ErrorKind::invalid,
                       fmt::format("\"{}\" is not an IPv4 address; write it like 10.0.0.1",
                                   text.substr(0, 64)));
    };
    std::uint32_t value = 0;
    const char* next = text.data();
    const char* const end = text.data() + text.size();
    for (int part = 0; part < 4; ++part) {
        if (part > 0 && (next == end || *next++ != '.')) return refuse();
        std::uint32_t number = 0;
        const auto [stop, error] = std::from_chars(next, end, number);
        const auto digits = stop - next;
        if (error != std::errc{} || digits > 3 || number > 255 || (digits > 1 && *next == '0'))
            return refuse();
        value = (value << 8) | number;
        next = stop;
    }
    if (next != end) return refuse();
    return Ipv4{value};
}

bool is_host_address(Ipv4 address) {
    const std::uint32_t first = address.value >> 24;
    return first != 0 && first != 127 && first < 224;
}

std::string Endpoint::to_string() const { return fmt::format("{}:{}", address.to_string(), port); }

bool same_subnet(Ipv4 a, Ipv4 b, Ipv4 netmask) {
    return !netmask.empty() && (a.value & netmask.value) == (b.value & netmask.value);
}

}  // namespace goldlink::pxe
