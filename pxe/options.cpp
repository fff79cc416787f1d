#include "pxe/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

namespace goldlink::pxe {

namespace {

[[noreturn]] void wrong(const std::string& option, const std::string& why) {
    throw CLI::ValidationError(option, why);
}

Ipv4 address(const std::string& option, const std::string& text) {
    const auto parsed = Ipv4::parse(text);
    if (!parsed) wrong(option, parsed.error().message);
    return *parsed;
}

std::optional<Endpoint> tftp_endpoint(const std::string& text) {
    if (text == "off") return std::nullopt;
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) wrong("--tftp", "write it like 0.0.0.0:69, or off");
    Endpoint endpoint{address("--tftp", text.substr(0, colon)), 0};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, endpoint.port);
    if (error != std::errc{} || stop != end) wrong("--tftp", "its port is not a number");
    return endpoint;
}

void read_range(const std::string& text, Options& options) {
    const auto dash = text.find('-');
    if (dash == std::string::npos) wrong("--dhcp-range", "write it like 10.0.0.100-10.0.0.199");
    options.range_first = address("--dhcp-range", text.substr(0, dash));
    options.range_last = address("--dhcp-range", text.substr(dash + 1));
}

}  // namespace

std::string_view to_string(Mode mode) {
    switch (mode) {
        case Mode::proxy:
            return "proxy";
        case Mode::dhcp:
            return "dhcp";
        case Mode::off:
            return "off";
    }
    return "off";
}

// CLI11 reports by exceptions; they end here.
ParsedOptions parse_command_line(int argc, const char* const* argv) {
    ParsedOptions parsed;
    Options& options = parsed.options;
    CLI::App app(
        "Boots machines over the network: ProxyDHCP or DHCP, TFTP and HTTP boot.\n"
        "It answers from the boot table the manager pushed last, also when the manager is down.");
    std::string mode = "proxy";
    std::string tftp = "0.0.0.0:69";
    std::string range;
    std::string router;
    std::vector<std::string> dns_servers;
    app.add_option("--state-dir", options.state_dir, "folder for boot table, leases and events")
        ->required();
    app.add_option("--control", options.control, "where the control API listens: unix:/path")
        ->required();
    app.add_option(
        "--target-control", options.target_control,
        "the target's control API, asked for each boot's disk: unix:/path or http://A:P");
    app.add_option(
           "--mode", mode,
           "proxy: beside the site's DHCP server. dhcp: be the DHCP server. off: no DHCP, the "
           "site's server names our boot files itself")
        ->check(CLI::IsMember({"proxy", "dhcp", "off"}))
        ->capture_default_str();
    app.add_option(
        "--interface", options.interfaces,
        "network interface to answer DHCP on; may be repeated. Without it as proxy: every "
        "one that is up with an IPv4 address");
    app.add_option("--http", options.http,
                   "where HTTP boot listens; :PORT is that of the first --interface's address")
        ->capture_default_str();
    app.add_option("--tftp", tftp, "where TFTP listens, or off")->capture_default_str();
    app.add_option("--boot-files", options.boot_files, "folder of the boot programs")
        ->capture_default_str();
    app.add_option("--dhcp-range", range, "mode dhcp: addresses to lease, FIRST-LAST");
    app.add_option("--dhcp-router", router, "mode dhcp: the default gateway to hand out");
    app.add_option("--dhcp-dns", dns_servers,
                   "mode dhcp: a DNS server to hand out; may be repeated");
    app.add_option("--dhcp-lease-seconds", options.lease_seconds,
                   "mode dhcp: how long a lease lasts")
        ->check(CLI::Range(120, 2592000))
        ->capture_default_str();
    app.add_option("--log-level", options.log_level, "debug, info, warn or error")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    app.set_version_flag("--version", GOLDLINK_VERSION);
    try {
        app.parse(argc, argv);
        options.mode = mode == "proxy" ? Mode::proxy : mode == "dhcp" ? Mode::dhcp : Mode::off;
        options.tftp = tftp_endpoint(tftp);
        if (!range.empty()) read_range(range, options);
        if (!router.empty()) options.router = address("--dhcp-router", router);
        for (const std::string& server : dns_servers)
            options.dns_servers.push_back(address("--dhcp-dns", server));
        if (options.http.starts_with(":") && options.interfaces.empty())
            wrong("--http", "without an address it needs --interface");
        if (options.mode == Mode::dhcp && (range.empty() || options.interfaces.size() != 1))
            wrong("--mode", "dhcp needs --dhcp-range and exactly one --interface");
        if (options.mode != Mode::dhcp && !range.empty())
            wrong("--dhcp-range", "only --mode dhcp leases addresses");
    } catch (const CLI::ParseError& error) {
        parsed.exit_code = app.exit(error);
    }
    return parsed;
}

}  // namespace goldlink::pxe
