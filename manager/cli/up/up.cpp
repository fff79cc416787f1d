#include "manager/cli/up/up.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "common/file.hpp"
#include "common/log.hpp"
#include "manager/cli/up/network.hpp"
#include "manager/cli/up/postgres.hpp"
#include "manager/cli/up/processes.hpp"
#include "manager/cli/up/service_manager.hpp"
#include "manager/cli/up/state_dir.hpp"
#include "manager/cli/up/supervisor.hpp"

namespace goldlink::up {

namespace {

constexpr const char* kDefaultPortal = "0.0.0.0:3260";
constexpr std::uint16_t kBootHttpPort = 8081;
constexpr std::chrono::seconds kLeftoverGrace{10};
constexpr std::chrono::seconds kPostgresGrace{60};
// Ports of a killed run: its target may have to let go of gigabytes of locked memory first.
constexpr std::chrono::seconds kPortPatience{10};

Result<std::filesystem::path> own_folder() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) return system_failure("cannot find the folder of this program", error.value());
    return self.parent_path();
}

Result<std::string> daemon_path(const std::filesystem::path& folder, const std::string& name) {
    const auto path = folder / name;
    if (::access(path.c_str(), X_OK) != 0)
        return failure(
            ErrorKind::not_found,
            fmt::format(
                "{} is missing\n  to do: 'deploy/up --build-only' builds all programs into one "
                "folder; keep them together",
                path.string()));
    return path.string();
}

// The web console's files: installed beside the programs, in a build, or in the source tree.
std::string find_web(const std::filesystem::path& folder) {
    for (const char* candidate : {"../share/goldlink/web", "../share/web", "../../../web/dist"}) {
        const auto path = (folder / candidate).lexically_normal();
        std::error_code error;
        if (std::filesystem::is_regular_file(path / "index.html", error)) return path.string();
    }
    return {};
}

// What an `up` that was killed left: its children got SIGKILL with it, but may still be ending.
Result<> end_leftovers(const StateDir& state) {
    for (const auto& record : read_child_records(state.child_records())) {
        if (record.name == "postgres" || !alive(record.id)) continue;  // Postgres sees to its own
        log::warn("{} (pid {}) of an earlier run is still there: stopping it", record.name,
                  record.id.pid);
        if (!end_process(record.id, SIGTERM, kLeftoverGrace))
            return failure(ErrorKind::conflict,
                           fmt::format("{} (pid {}) of an earlier run cannot be ended", record.name,
                                       record.id.pid));
    }
    return {};
}

struct Plan {
    std::filesystem::path programs;
    std::string listen;
    std::vector<std::string> portals;
    std::string boot_http;
    std::string web;
};

Result<Endpoint> boot_http(const Options& options) {
    Endpoint http;
    if (options.pxe_http.empty()) {
        GOLDLINK_TRY_ASSIGN(http.host, interface_address(options.interface));
        http.port = kBootHttpPort;
    } else {
        GOLDLINK_TRY_ASSIGN(http, parse_endpoint(options.pxe_http));
    }
    return claim_endpoint(http, kPortPatience);
}

// Everything that can be refused before anything is started. Network boot ends a first start only:
// later, disks and API are served without it, and goldlink-pxe is tried until it starts.
Result<Plan> make_plan(const Options& options, bool first_start) {
    Plan plan;
    GOLDLINK_TRY_ASSIGN(plan.programs, own_folder());
    GOLDLINK_TRY_ASSIGN(auto listen, parse_endpoint(options.listen));
    GOLDLINK_TRY_ASSIGN(listen, claim_endpoint(listen, kPortPatience));
    plan.listen = listen.to_string();
    GOLDLINK_TRY_ASSIGN(plan.portals, concrete_portals(options.portals, options.interface));
    for (auto& portal : plan.portals) {
        GOLDLINK_TRY_ASSIGN(auto endpoint, parse_endpoint(portal));
        GOLDLINK_TRY_ASSIGN(endpoint, claim_endpoint(endpoint, kPortPatience));
        portal = endpoint.to_string();
    }
    if (options.pxe != "off") {
        const auto http = boot_http(options);
        if (!http && first_start) return Failure(http.error());
        if (!http) log::error("network boot does not start yet: {}", http.error().message);
        if (http)
            plan.boot_http = http->to_string();
        else
            plan.boot_http =
                options.pxe_http.empty() ? fmt::format(":{}", kBootHttpPort) : options.pxe_http;
    }
    plan.web = find_web(plan.programs);
    return plan;
}

Liveness::Ask ask_at(const std::string& control) {
    return [control](std::chrono::milliseconds limit) { return ask_control(control, limit); };
}

Result<Service> target_service(const Options& options, const Plan& plan, const StateDir& state) {
    Service service;
    service.name = "goldlink-target";
    GOLDLINK_TRY_ASSIGN(auto program, daemon_path(plan.programs, service.name));
    auto& argv = service.child.argv;
    argv = {program,
            "--state-dir",
            state.path() / "target",
            "--control",
            "unix:" + state.socket("target.sock").string(),
            "--log-level",
            options.log_level};
    for (const auto& portal : plan.portals) argv.insert(argv.end(), {"--portal", portal});
    argv.insert(argv.end(), options.target_arguments.begin(), options.target_arguments.end());
    const auto import_folder = state.path() / "import";
    if (const auto made = make_directories(import_folder); !made)
        log::warn("files for 'image import --server-path' have no place: {}", made.error().message);
    argv.insert(argv.end(), {"--import-dir", import_folder});
    for (const auto& folder : options.import_folders)
        argv.insert(argv.end(), {"--import-dir", folder});
    service.stop_grace = std::chrono::seconds(20);
    service.for_clients = true;
    service.ask = ask_at("unix:" + state.socket("target.sock").string());
    return service;
}

Result<Service> pxe_service(const Options& options, const Plan& plan, const StateDir& state) {
    Service service;
    service.name = "goldlink-pxe";
    GOLDLINK_TRY_ASSIGN(auto program, daemon_path(plan.programs, service.name));
    auto& argv = service.child.argv;
    argv = {program,
            "--state-dir",
            state.path() / "pxe",
            "--control",
            "unix:" + state.socket("pxe.sock").string(),
            "--target-control",
            "unix:" + state.socket("target.sock").string(),
            "--mode",
            options.pxe,
            "--interface",
            options.interface,
            "--http",
            plan.boot_http,
            "--log-level",
            options.log_level};
    if (!options.dhcp_range.empty()) argv.insert(argv.end(), {"--dhcp-range", options.dhcp_range});
    if (!options.dhcp_router.empty())
        argv.insert(argv.end(), {"--dhcp-router", options.dhcp_router});
    for (const auto& server : options.dhcp_dns) argv.insert(argv.end(), {"--dhcp-dns", server});
    service.for_clients = true;
    service.ask = ask_at("unix:" + state.socket("pxe.sock").string());
    return service;
}

Result<Service> manager_service(const Options& options, const Plan& plan, const StateDir& state,
                                const std::string& database_url) {
    Service service;
    service.name = "goldlink-manager";
    const std::string control = "unix:" + state.socket("manager.sock").string();
    GOLDLINK_TRY_ASSIGN(auto program, daemon_path(plan.programs, service.name));
    auto& argv = service.child.argv;
    argv = {program,
            "--state-dir",
            state.path() / "manager",
            "--listen",
            plan.listen,
            "--control",
            control,
            "--database-url",
            database_url,
            "--target-control",
            "unix:" + state.socket("target.sock").string(),
            "--admin-token-file",
            state.admin_token(),
            "--log-level",
            options.log_level};
    if (options.pxe != "off")
        argv.insert(argv.end(), {"--pxe-control", "unix:" + state.socket("pxe.sock").string()});
    if (!plan.web.empty()) argv.insert(argv.end(), {"--web-dir", plan.web});
    if (options.adopt_registry) argv.emplace_back("--adopt-registry");
    // It serves, and says so, before its database is set up; the token comes with that.
    service.ready = [token = state.admin_token()](pid_t) {
        return ::access(token.c_str(), F_OK) == 0;
    };
    service.ask = ask_at(control);
    return service;
}

Service postgres_service(const std::shared_ptr<const Postgres>& postgres) {
    Service service;
    service.name = "postgres";
    service.prepare = [postgres](const std::atomic<bool>& stop) { return postgres->prepare(stop); };
    service.says_ready = false;
    service.ready = [postgres](pid_t pid) { return postgres->ready(pid); };
    service.ask = [postgres](std::chrono::milliseconds limit) { return postgres->answers(limit); };
    service.line_prefix = "postgres: ";
    service.stop_signal = SIGINT;  // fast shutdown: does not wait for an admin's psql
    service.stop_grace = kPostgresGrace;
    return service;
}

Result<> announce(const Plan& plan, const StateDir& state, const Options& options) {
    const auto url = url_of(plan.listen);
    log::info("console and API: {}   admin token: {}", url, state.admin_token().string());
    log::info("iSCSI: {}   network boot: {}", fmt::join(plan.portals, ", "),
              options.pxe == "off" ? "off (--pxe proxy --interface IF switches it on)"
                                   : fmt::format("{} on {}", options.pxe, options.interface));
    if (plan.web.empty()) log::warn("the web console is not built: only the API is served");
    std::fputs(fmt::format("ready {}\n", url).c_str(), stdout);
    std::fflush(stdout);
    return {};
}

}  // namespace

Result<std::vector<std::string>> concrete_portals(const std::vector<std::string>& asked,
                                                  const std::string& interface) {
    std::vector<std::string> portals;
    const auto add = [&](const Endpoint& endpoint) {
        auto text = endpoint.to_string();
        if (std::ranges::find(portals, text) == portals.end() || endpoint.port == 0)
            portals.push_back(std::move(text));
    };
    for (const auto& text : asked.empty() ? std::vector<std::string>{kDefaultPortal} : asked) {
        GOLDLINK_TRY_ASSIGN(const auto endpoint, parse_endpoint(text));
        if (!endpoint.any_host()) {
            add(endpoint);
            continue;
        }
        const Family family = endpoint.host == "::" ? Family::v6 : Family::v4;
        std::string address;
        if (interface.empty()) {
            address = machine_address(family);
        } else {
            GOLDLINK_TRY_ASSIGN(address, interface_address(interface, family));
        }
        add({address, endpoint.port});
        if (endpoint.port != 0) add({family == Family::v6 ? "::1" : "127.0.0.1", endpoint.port});
    }
    return portals;
}

std::string url_of(const std::string& endpoint) {
    auto parsed = parse_endpoint(endpoint);
    if (!parsed) return "http://" + endpoint;
    if (parsed->host == "0.0.0.0") parsed->host = "127.0.0.1";
    if (parsed->host == "::") parsed->host = "::1";
    return "http://" + parsed->to_string();
}

Result<> run(const Options& options) {
    ServiceManager service_manager;
    block_stop_signals();
    GOLDLINK_TRY_ASSIGN(const auto state, StateDir::open(options.state_dir));
    GOLDLINK_TRY(end_leftovers(state));
    GOLDLINK_TRY_ASSIGN(const auto plan, make_plan(options, !state.used()));

    std::vector<Service> services;
    std::string database_url = options.database_url;
    if (database_url.empty()) {
        const auto postgres = std::make_shared<const Postgres>(state);
        database_url = postgres->database_url();
        // A first start has nothing to serve yet: without a database it ends here, with nothing
        // made. A later one serves and tries again (Supervisor).
        if (const std::atomic<bool> no_stop{false}; !state.used())
            GOLDLINK_TRY(postgres->prepare(no_stop));
        services.push_back(postgres_service(postgres));
    }
    GOLDLINK_TRY_ASSIGN(auto target, target_service(options, plan, state));
    services.push_back(std::move(target));
    if (options.pxe != "off") {
        GOLDLINK_TRY_ASSIGN(auto pxe, pxe_service(options, plan, state));
        services.push_back(std::move(pxe));
    }
    GOLDLINK_TRY_ASSIGN(auto manager, manager_service(options, plan, state, database_url));
    for (const auto& service : services) manager.needs.push_back(service.name);
    services.push_back(std::move(manager));

    SupervisorHooks hooks;
    hooks.children_changed = [&state](const std::vector<ChildRecord>& records) {
        if (const auto written = write_child_records(state.child_records(), records); !written)
            log::warn("{}", written.error().message);
    };
    hooks.all_ready = [&] { return announce(plan, state, options); };
    // The service manager wants to know that PCs are served; people, that all is well.
    hooks.changed = [&service_manager](bool served, const std::string& text) {
        served ? service_manager.serves(text) : service_manager.status(text);
    };
    hooks.stopping = [&service_manager] { service_manager.stopping(); };
    hooks.tick = [&service_manager] { service_manager.lives(); };
    Supervisor supervisor(std::move(services), std::move(hooks), !state.used());
    auto outcome = supervisor.run();
    if (outcome) log::info("stopped; all state is in {}", state.path().string());
    return outcome;
}

}  // namespace goldlink::up
