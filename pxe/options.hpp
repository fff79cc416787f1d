// The command line of goldlink-pxe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

enum class Mode : unsigned char { proxy, dhcp, off };

struct Options {
    std::string state_dir;
    std::string control;
    std::string target_control;
    Mode mode = Mode::proxy;
    std::vector<std::string> interfaces;
    std::string http = "0.0.0.0:8081";
    std::optional<Endpoint> tftp = Endpoint{{}, 69};  // nullopt: off
    std::string boot_files = "/usr/lib/ipxe";
    Ipv4 range_first, range_last;
    Ipv4 router;
    std::vector<Ipv4> dns_servers;
    std::uint32_t lease_seconds = 43200;
    std::string log_level = "info";
};

std::string_view to_string(Mode mode);

// Prints help, version or what is wrong itself and then returns the exit code instead.
struct ParsedOptions {
    Options options;
    std::optional<int> exit_code;
};
ParsedOptions parse_command_line(int argc, const char* const* argv);

}  // namespace goldlink::pxe
