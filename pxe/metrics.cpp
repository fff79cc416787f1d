#include "pxe/metrics.hpp"

#include <fmt/format.h>

#include <string_view>

namespace goldlink::pxe {

namespace {

struct Row {
    std::string_view name;
    std::string_view help;
    std::string_view labels;
    Metrics::Counter Metrics::*counter;
};

// Rows of one name stand together: the text format wants each family in one piece.
constexpr Row kRows[] = {
    {"goldlink_pxe_dhcp_requests_total", "DHCP packets received.", "", &Metrics::dhcp_requests},
    {"goldlink_pxe_dhcp_malformed_total", "DHCP packets that could not be read.", "",
     &Metrics::dhcp_malformed},
    {"goldlink_pxe_dhcp_replies_total", "DHCP replies sent.", "", &Metrics::dhcp_replies},
    {"goldlink_pxe_dhcp_refused_total", "Boot requests without a fitting boot program.", "",
     &Metrics::dhcp_refused},
    {"goldlink_pxe_tftp_requests_total", "TFTP read and write requests.", "",
     &Metrics::tftp_requests},
    {"goldlink_pxe_tftp_refused_total", "TFTP requests answered with an error.", "",
     &Metrics::tftp_refused},
    {"goldlink_pxe_tftp_transfers_total", "TFTP transfers that ended.", "{result=\"completed\"}",
     &Metrics::tftp_completed},
    {"goldlink_pxe_tftp_transfers_total", "", "{result=\"failed\"}", &Metrics::tftp_failed},
    {"goldlink_pxe_tftp_bytes_total", "Bytes of completed TFTP transfers.", "",
     &Metrics::tftp_bytes},
    {"goldlink_pxe_tftp_retransmitted_blocks_total", "TFTP blocks sent again.", "",
     &Metrics::tftp_retransmitted_blocks},
    {"goldlink_pxe_http_files_total", "Boot files given over HTTP.", "", &Metrics::http_files},
    {"goldlink_pxe_scripts_total", "iPXE scripts rendered.", "{kind=\"link\"}",
     &Metrics::scripts_link},
    {"goldlink_pxe_scripts_total", "", "{kind=\"local\"}", &Metrics::scripts_local},
    {"goldlink_pxe_scripts_total", "", "{kind=\"unknown\"}", &Metrics::scripts_unknown},
    {"goldlink_pxe_scripts_total", "", "{kind=\"refused\"}", &Metrics::scripts_refused},
    {"goldlink_pxe_ipxe_failures_total", "Failures that iPXE reported back.", "",
     &Metrics::ipxe_failures},
};

}  // namespace

std::string Metrics::prometheus_text() const {
    std::string text;
    for (const Row& row : kRows) {
        if (!row.help.empty())
            text += fmt::format("# HELP {} {}\n# TYPE {} counter\n", row.name, row.help, row.name);
        text += fmt::format("{}{} {}\n", row.name, row.labels, (this->*row.counter).load());
    }
    text += fmt::format(
        "# HELP goldlink_pxe_tftp_running TFTP transfers under way.\n"
        "# TYPE goldlink_pxe_tftp_running gauge\ngoldlink_pxe_tftp_running {}\n",
        tftp_running.load());
    return text;
}

}  // namespace goldlink::pxe
