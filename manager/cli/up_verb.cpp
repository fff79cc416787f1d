// goldlink up: the options of the server in one command.
#include <memory>

#include "common/log.hpp"
#include "manager/cli/session.hpp"
#include "manager/cli/up/network.hpp"
#include "manager/cli/up/up.hpp"

namespace goldlink::cli {

namespace {

std::string check_endpoint(const std::string& text) {
    const auto endpoint = up::parse_endpoint(text);
    return endpoint ? "" : endpoint.error().message;
}

}  // namespace

void add_up_verb(CLI::App& root, Session& session) {
    const auto options = std::make_shared<up::Options>();
    CLI::App* verb = root.add_subcommand("up", "Run the whole server on this machine");
    verb->footer(
        "Runs a private PostgreSQL and the daemons, restarts what dies, and prints 'ready URL' "
        "when all\n"
        "serve. Ctrl-C stops everything; the next 'goldlink up' resumes with all state, also after "
        "a\n"
        "crash. The admin's API token is in admin.token in the state folder.\n"
        "\n"
        "The API and the console speak plain HTTP: on an untrusted network give --listen\n"
        "127.0.0.1:8080 and put a TLS proxy before it.\n"
        "\nExamples:\n"
        "  goldlink up                                    disks and console, no network boot\n"
        "  goldlink up --pxe proxy --interface eth0       beside the site's own DHCP server\n"
        "  goldlink up --state-dir ~/goldlink --listen 127.0.0.1:8080 --portal 127.0.0.1:3260\n"
        "  goldlink up --database-url postgresql://goldlink@db.example/goldlink");
    verb->add_option("--state-dir", options->state_dir, "Where everything is kept")
        ->envname("GOLDLINK_STATE_DIR")
        ->type_name("DIR")
        ->capture_default_str();
    verb->add_option("--listen", options->listen, "API and web console; port 0 picks a free one")
        ->type_name("A:P")
        ->check(check_endpoint)
        ->capture_default_str();
    verb->add_option("--portal", options->portals,
                     "iSCSI; repeat for several paths. 0.0.0.0 (the default, port 3260) means the "
                     "address of "
                     "--interface or of the default route, and loopback")
        ->type_name("A:P")
        ->check(check_endpoint)
        ->take_all()
        ->expected(1);
    verb->add_option("--database-url", options->database_url,
                     "A PostgreSQL of yours instead of the private one")
        ->type_name("URL");
    auto* pxe = verb->add_option("--pxe", options->pxe,
                                 "Network boot: proxy beside the site's DHCP, dhcp where "
                                 "there is none")
                    ->check(CLI::IsMember({"off", "proxy", "dhcp"}))
                    ->capture_default_str();
    auto* interface =
        verb->add_option("--interface", options->interface, "The network card of the room")
            ->type_name("IF");
    auto* http =
        verb->add_option("--pxe-http", options->pxe_http,
                         "Boot scripts over HTTP (default: port 8081 on the interface's address)")
            ->type_name("A:P")
            ->check(check_endpoint);
    auto* range =
        verb->add_option("--dhcp-range", options->dhcp_range, "Addresses that --pxe dhcp gives out")
            ->type_name("FIRST-LAST");
    verb->add_option("--dhcp-router", options->dhcp_router,
                     "The default gateway that --pxe dhcp hands out")
        ->type_name("A")
        ->needs(range);
    verb->add_option("--dhcp-dns", options->dhcp_dns,
                     "A DNS server that --pxe dhcp hands out; repeat for several")
        ->type_name("A")
        ->take_all()
        ->expected(1)
        ->needs(range);
    http->needs(pxe);
    range->needs(pxe);
    verb->add_option("--ram-dir", options->ram_dir,
                     "tmpfs folder for the overlays of discard links")
        ->type_name("DIR");
    verb->add_option("--ram-budget", options->ram_budget, "How much of it they may take")
        ->type_name("BYTES")
        ->check(CLI::PositiveNumber);
    verb->add_option("--locked-memory", options->locked_memory,
                     "Memory to lock for the image chunks that are read most; 0: none "
                     "[a quarter of the memory]")
        ->type_name("BYTES")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--import-dir", options->import_folders,
                     "A folder of this machine whose files 'image import --server-path' may take, "
                     "beside import/ of the state folder; repeat for several")
        ->type_name("DIR")
        ->take_all()
        ->expected(1);
    verb->add_option("--log-level", options->log_level, "What the daemons say")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    verb->callback([&session, options, interface] {
        if (options->pxe != "off" && interface->count() == 0)
            throw CLI::ValidationError("--pxe " + options->pxe,
                                       "needs --interface IF, the network card of the room");
        if (!options->dhcp_range.empty() && options->pxe != "dhcp")
            throw CLI::ValidationError("--dhcp-range", "goes with --pxe dhcp");
        if (options->dhcp_range.empty() && options->pxe == "dhcp")
            throw CLI::ValidationError("--pxe dhcp",
                                       "needs --dhcp-range FIRST-LAST, the addresses to give out");
        session.action = [options] {
            init_log("goldlink", options->log_level);
            return up::run(*options);
        };
    });
}

}  // namespace goldlink::cli
