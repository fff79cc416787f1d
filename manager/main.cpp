// goldlink-manager: the registry's REST API and web console, and the reconciler behind it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/http/server.hpp"
#include "common/log.hpp"
#include "common/signals.hpp"
#include "manager/api/routes.hpp"
#include "manager/api/web_files.hpp"
#include "manager/health.hpp"
#include "manager/live.hpp"
#include "manager/reconcile/reconciler.hpp"

namespace {

using namespace goldlink;

constexpr unsigned kDatabaseConnections = 16;
constexpr unsigned kHttpConnections = 512;
constexpr unsigned kControlConnections = 8;

struct Options {
    std::string state_dir = "/var/lib/goldlink/manager";
    std::string listen = "127.0.0.1:8080";
    std::string control;
    std::string database_url;
    std::string target_control = "unix:/var/lib/goldlink/run/target.sock";
    std::string pxe_control;
    std::string web_dir;
    std::string admin_token_file;
    std::string wake_address;
    bool adopt_registry = false;
    std::string log_level = "info";
};

void declare(CLI::App& app, Options& options) {
    app.add_option("--state-dir", options.state_dir,
                   "Folder for what the manager keeps outside the database")
        ->capture_default_str();
    app.add_option("--listen", options.listen, "Address of the REST API and the web console")
        ->capture_default_str();
    app.add_option("--control", options.control,
                   "Where it answers who supervises it, unix:/path (GET /live); none: nowhere");
    app.add_option("--database-url", options.database_url,
                   "PostgreSQL (13 or later), as a URL or a conninfo string")
        ->required();
    app.add_option("--target-control", options.target_control, "Control API of goldlink-target")
        ->capture_default_str();
    app.add_option("--pxe-control", options.pxe_control,
                   "Control API of goldlink-pxe; none: there is no pxe");
    app.add_option("--web-dir", options.web_dir,
                   "Folder of the web console; none: it is not served");
    app.add_option("--admin-token-file", options.admin_token_file,
                   "Where the first admin token is written (default: STATE_DIR/admin-token)");
    app.add_option("--wake-address", options.wake_address,
                   "Where Wake-on-LAN packets go, A.B.C.D:PORT (default: every interface's "
                   "broadcast address, port 9)");
    app.add_flag("--adopt-registry", options.adopt_registry,
                 "Make this database the target's registry, though the target followed another");
    app.add_option("--log-level", options.log_level, "debug, info, warn or error")
        ->capture_default_str()
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
    app.set_version_flag("--version", GOLDLINK_VERSION);
}

int serve(const Options& options) {
    if (const auto made = make_directories(options.state_dir); !made) {
        log::error("{}", made.error().message);
        return 1;
    }
    const std::string token_file = options.admin_token_file.empty()
                                       ? options.state_dir + "/admin-token"
                                       : options.admin_token_file;
    manager::db::Pool pool(options.database_url, kDatabaseConnections);
    manager::Watch watch(pool, token_file);
    manager::Peer target("target", options.target_control);
    manager::Peer pxe("pxe", options.pxe_control);
    manager::TargetStatus target_status(target);
    const bool has_pxe = !options.pxe_control.empty();
    manager::Health health(pool, watch, target, target_status, has_pxe ? &pxe : nullptr);
    manager::Services services{pool,
                               watch,
                               target,
                               target_status,
                               health,
                               has_pxe ? &pxe : nullptr,
                               options.web_dir,
                               options.wake_address,
                               token_file};

    http::ServerOptions server_options;
    server_options.max_connections = kHttpConnections;
    server_options.fallback = manager::api::web_files(options.web_dir);
    server_options.server_name = "goldlink-manager";
    http::Server server(manager::api::serve(manager::api::api_table(), services),
                        std::move(server_options));
    http::Server control(manager::live_routes(services), {.max_connections = kControlConnections,
                                                          .server_name = "goldlink-manager"});
    manager::Reconciler reconciler(services, options.adopt_registry);
    watch.start();
    reconciler.start();
    int code = 0;
    auto listening = server.listen(options.listen);
    if (listening && !options.control.empty()) listening = control.listen(options.control);
    if (!listening) {
        log::error("{}", listening.error().message);
        code = 1;
    } else {
        // With the database there, whoever waits for `ready` finds the token file and every route
        // at work.
        watch.wait_first_try(std::chrono::seconds(30));
        std::puts("ready");
        std::fflush(stdout);
        log::info("serving on {}", options.listen);
        const int signal = wait_for_termination();
        log::info("stopping (signal {})", signal);
    }
    watch.stop();
    control.stop();
    server.stop();
    reconciler.join();
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    block_termination_signals();
    CLI::App app(
        "goldlink-manager: the registry of images, clients and links, its REST API and web "
        "console.");
    Options options;
    declare(app, options);
    CLI11_PARSE(app, argc, argv);
    init_log("goldlink-manager", options.log_level);
    return serve(options);
}
