// Addresses that `goldlink up` hands to the daemons: what was asked for, made concrete, and whether
// it is free. Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::up {

struct Endpoint {
    std::string host;  // a literal address, IPv6 without brackets
    std::uint16_t port = 0;

    bool any_host() const { return host == "0.0.0.0" || host == "::"; }
    std::string to_string() const;  // "10.0.0.1:3260", "[fd00::1]:3260"
};

// "ADDRESS:PORT" with a literal address; IPv6 in brackets. Port 0 asks for any free one.
Result<Endpoint> parse_endpoint(std::string_view text);

enum class Family : bool { v4, v6 };

// The address of a network interface; an IPv6 one is not link-local.
Result<std::string> interface_address(const std::string& interface, Family family = Family::v4);
// The address that this machine would talk to others with: that of the default route, else of the
// first interface that is up and not loopback, else loopback's.
std::string machine_address(Family family = Family::v4);

// Makes sure that nobody listens on the TCP endpoint; a port of 0 becomes a free one. The error
// says which process holds the port, where that can be seen. While what holds it is a daemon of
// ours whose `goldlink up` has ended, or nobody to be seen, as when a killed process is on its way
// out, it is tried again for `patience`.
Result<Endpoint> claim_endpoint(const Endpoint& endpoint,
                                std::chrono::milliseconds patience = std::chrono::milliseconds(0));

}  // namespace goldlink::up
