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

// Those of goldlink-target that an owner may want to set, handed on as they are given.
void add_target_options(CLI::App& verb, up::Options& options) {
    const auto add = [&](const std::string& name, const char* type, const char* help) {
        return verb
            .add_option_function<std::string>(
                name,
                [&options, name](const std::string& value) {
                    options.target_arguments.insert(options.target_arguments.end(), {name, value});
                },
                help)
            ->type_name(type);
    };
    const auto size = CLI::AsSizeValue(false);
    add("--ram-dir", "DIR", "tmpfs folder for the overlays of discard links");
    add("--ram-budget", "BYTES", "How much of it they may take, as 8G")->transform(size);
    add("--reserve", "BYTES", "What overlays leave free on the disk [1G]")->transform(size);
    add("--locked-memory", "BYTES",
        "Memory to lock for the image chunks that are read most, as 24G; 0: none [a quarter of "
        "the memory]")
        ->transform(size);
    add("--verify-every", "DAYS",
        "After how many days each image version is read and checked again; 0: never by itself [7]")
        ->check(CLI::Range(0.0, 3650.0));
    add("--verify-rate", "BYTES",
        "How much of them is read a second; an eighth while clients are busy [64M]")
        ->transform(size)
        ->check(CLI::Range(std::uint64_t{64} << 10, std::uint64_t{1} << 40));
    add("--boot-trace", "SECONDS",
        "How much of a version's first boot is recorded, to be read ahead of later ones; 0: none "
        "[180]")
        ->check(CLI::Range(0U, 3600U));
    add("--stop-grace", "SECONDS", "What initiators get to log out before a stop")
        ->check(CLI::Range(0U, 15U));
    add("--trash-days", "DAYS", "How long kept disks of removed links stay in the trash [7]")
        ->check(CLI::Range(0.0, 3650.0));
    add("--congestion-control", "NAME",
        "TCP's at the portals; 'system' leaves the system's [cubic]");
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
    verb->add_flag("--adopt-registry", options->adopt_registry,
                   "This database is the target's registry from now on, though it is not the one "
                   "it followed: links that it does not have are removed ('goldlink registry show' "
                   "tells which)");
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
    add_target_options(*verb, *options);
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
