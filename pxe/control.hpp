// The control API of goldlink-pxe (ARCHITECTURE.md): the boot table in, events, status and metrics
// out. For the manager and for curl --unix-socket; not for the machines' network.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/event_log.hpp"
#include "common/http/server.hpp"
#include "pxe/boot_files.hpp"
#include "pxe/boots.hpp"
#include "pxe/metrics.hpp"
#include "pxe/table_store.hpp"

namespace goldlink::pxe {

// What /status tells; all parts outlive the server.
struct ControlState {
    TableStore& tables;
    EventLog& events;
    const Problems& problems;
    // Which of the service threads does not turn within `limit`; "": all do.
    std::function<std::string(std::chrono::milliseconds limit)> stuck;
    const Boots& boots;
    const BootFiles& files;
    const Metrics& metrics;
    std::string mode;                                      // "proxy", "dhcp", "off"
    std::function<std::vector<std::string>()> interfaces;  // that DHCP is answered on now
    std::uint16_t http_port = 0;
    std::uint16_t tftp_port = 0;  // 0: TFTP is off
    std::chrono::steady_clock::time_point started;
};

std::vector<http::Route> control_routes(const ControlState& state);

}  // namespace goldlink::pxe
