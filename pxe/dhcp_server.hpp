// The DHCP service: receives on UDP 67 and 4011 of each interface (dhcp_listeners.hpp), validates,
// decides (decide.hpp), sends. One thread. As ProxyDHCP it stands beside the site's server; with a
// LeasePool it is the site's server.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/problems.hpp"
#include "common/result.hpp"
#include "pxe/boot_files.hpp"
#include "pxe/leases.hpp"
#include "pxe/script_service.hpp"

namespace goldlink::pxe {

struct DhcpOptions {
    std::vector<std::string> interfaces;  // empty: every one that is up with an IPv4 address
    std::uint16_t http_port = 0;
    std::optional<LeasePool> pool;  // then `lease_file` holds what it gave out
    std::filesystem::path lease_file;
    Problems* problems = nullptr;  // not null; told of all that is amiss
};

class DhcpServer {
  public:
    // Opens every socket before it returns. `state` and `files` outlive the server.
    static Result<std::unique_ptr<DhcpServer>> start(DhcpOptions options, BootState state,
                                                     const BootFiles& files);
    ~DhcpServer();  // ends its thread
    // Those that are served now. Threads: any.
    std::vector<std::string> interfaces() const;
    // Whether its thread still takes packets. Threads: any.
    bool turns(std::chrono::milliseconds limit);

  private:
    struct State;
    explicit DhcpServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace goldlink::pxe
