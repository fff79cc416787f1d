// An IPv4 address as DHCP, TFTP and the scripts use it. PXE is IPv4 here: so are the firmware's
// network stacks that matter. Held in host order. Threads: any.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::pxe {

struct Ipv4 {
    std::uint32_t value = 0;

    auto operator<=>(const Ipv4&) const = default;
    bool empty() const { return value == 0; }
    std::string to_string() const;  // "10.0.0.1"

    // Dotted quad only: no names, no octal, no leading zeros.
    static Result<Ipv4> parse(std::string_view text);
};

inline constexpr Ipv4 kBroadcast{0xffffffffU};
// What a host on a network can have: no loopback, multicast, broadcast or empty address.
bool is_host_address(Ipv4 address);

struct Endpoint {
    Ipv4 address;
    std::uint16_t port = 0;

    auto operator<=>(const Endpoint&) const = default;
    std::string to_string() const;  // "10.0.0.1:69"
};

// True when both are in the subnet that `netmask` makes of `a`. An empty mask is no subnet.
bool same_subnet(Ipv4 a, Ipv4 b, Ipv4 netmask);

}  // namespace goldlink::pxe
