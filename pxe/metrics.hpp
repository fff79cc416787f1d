// What goldlink-pxe counts. Any thread adds; /metrics and /status read.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace goldlink::pxe {

struct Metrics {
    using Counter = std::atomic<std::uint64_t>;

    Counter dhcp_requests{0};
    Counter dhcp_malformed{0};
    Counter dhcp_replies{0};
    Counter dhcp_refused{0};
    Counter tftp_requests{0};
    Counter tftp_refused{0};
    Counter tftp_completed{0};
    Counter tftp_failed{0};
    Counter tftp_bytes{0};
    Counter tftp_retransmitted_blocks{0};
    Counter tftp_running{0};  // a gauge
    Counter http_files{0};
    Counter scripts_link{0};
    Counter scripts_local{0};
    Counter scripts_unknown{0};
    Counter scripts_refused{0};
    Counter ipxe_failures{0};

    std::string prometheus_text() const;
};

}  // namespace goldlink::pxe
