// goldlink-target: serves disks over iSCSI. Puts the parts together, in the order in which they
// depend on each other, and takes them apart the other way round.
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

#include "common/file.hpp"
#include "common/http/server.hpp"
#include "common/log.hpp"
#include "common/signals.hpp"
#include "target/control/control_context.hpp"
#include "target/control/store_health.hpp"
#include "target/reactor/io_ring.hpp"
#include "target/reactor/reactor.hpp"
#include "target/store/resident_chunks.hpp"

namespace goldlink {
namespace {

struct Options {
    std::string state_dir = "/var/lib/goldlink/target";
    std::vector<std::string> control;
    std::vector<std::string> portals;
    std::string advertise;
    std::vector<std::string> import_folders;
    unsigned reactors = 0;
    std::string ram_dir;
    std::uint64_t ram_budget_bytes = 0;
    std::uint64_t reserve_bytes = 1ULL << 30;
    std::uint64_t locked_memory_bytes = store::default_resident_budget_bytes();
    double verify_every_days = 7;
    std::uint64_t verify_bytes_per_second = 64ull << 20;
    iscsi::PortalOptions portal;
    unsigned login_seconds = 15;
    unsigned stall_seconds = 30;
    unsigned stop_grace_seconds = 1;
    unsigned boot_trace_seconds = 180;
    std::string log_level = "info";
};

std::vector<int> usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<int> cores;
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
        for (unsigned core = 0; core < CPU_SETSIZE; ++core)
            if (CPU_ISSET(core, &set)) cores.push_back(static_cast<int>(core));
    if (cores.empty()) cores.push_back(-1);
    return cores;
}

// Sessions, packs and overlays each hold descriptors.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The control API has no authentication of its own: the socket's mode is its guard.
Result<> check_control_address(const std::string& address) {
    if (address.starts_with("unix:")) return {};
    for (const std::string_view local : {"127.0.0.1:", "[::1]:", "localhost:"})
        if (address.starts_with(local)) return {};
    return failure(
        ErrorKind::denied,
        fmt::format(
            "--control {} would let anyone on the network control this target; use unix:/path, or "
            "a loopback address",
            address));
}

class Reactors {
  public:
    explicit Reactors(unsigned count) {
        const std::vector<int> cores = usable_cores();
        if (count == 0) count = static_cast<unsigned>(cores.size());
        for (unsigned i = 0; i < count; ++i) {
            // More reactors than cores are for tests: they float.
            const int core = count <= cores.size() ? cores[i] : -1;
            reactors_.push_back(std::make_unique<reactor::Reactor>(i, core));
            reactors_.back()->start();
        }
    }
    std::vector<reactor::Reactor*> pointers() const {
        std::vector<reactor::Reactor*> all;
        for (const auto& one : reactors_) all.push_back(one.get());
        return all;
    }
    std::string io_kind() const {
        std::string kind;
        reactors_.front()->run_and_wait([&] { kind = reactors_.front()->ring().kind(); });
        return kind;
    }

  private:
    std::vector<std::unique_ptr<reactor::Reactor>> reactors_;
};

Result<> serve(const Options& options) {
    const std::filesystem::path state_dir = options.state_dir;
    for (const std::string& address : options.control) GOLDLINK_TRY(check_control_address(address));
    GOLDLINK_TRY(make_directories(state_dir));
    ::chmod(state_dir.c_str(), 0750);

    GOLDLINK_TRY_ASSIGN(const auto store,
                        store::ImageStore::open(state_dir / "store", options.locked_memory_bytes));
    GOLDLINK_TRY_ASSIGN(const auto events, EventLog::open(state_dir / "events.jsonl"));
    // Before the reactors, whose timers end what is recorded.
    control::BootTraces traces(state_dir / "boot-traces", *store,
                               std::chrono::seconds(options.boot_trace_seconds));
    GOLDLINK_TRY(traces.load());
    control::Pins pins(state_dir / "pins.json", *store, traces);
    GOLDLINK_TRY(pins.load());
    const Reactors reactors(options.reactors);

    control::OverlaySettings overlays;
    overlays.root = state_dir / "overlays";
    overlays.reserve_bytes = options.reserve_bytes;
    if (!options.ram_dir.empty() && options.ram_budget_bytes > 0) {
        overlays.ram_root = options.ram_dir;
        overlays.ram_budget_bytes = options.ram_budget_bytes;
    }
    control::LinkTable links(state_dir, overlays, *store, *events, reactors.pointers(), traces);
    control::UploadSpool uploads(state_dir / "uploads", options.reserve_bytes);
    GOLDLINK_TRY(uploads.open());
    control::ExportFiles exports(state_dir / "exports");
    GOLDLINK_TRY(exports.open());
    const control::ServerPaths server_paths(
        {options.import_folders.begin(), options.import_folders.end()});
    control::Transfers transfers(*store);
    std::optional<control::GarbageCollector> garbage;
    control::TaskQueue tasks(
        state_dir / "tasks.json",
        [&](const control::TaskRequest& request, store::Progress& progress) {
            if (request.kind == "gc") return control::run_gc(request, progress, *garbage);
            return control::run_task(request, progress, links, *store,
                                     {uploads, exports, server_paths}, traces);
        },
        *events, 2, [&store] { return store->made_count(); });
    garbage.emplace(*store, links, tasks, uploads, exports);
    GOLDLINK_TRY(tasks.load());
    GOLDLINK_TRY(links.load());  // from here on everything ends by the steps at the bottom

    control::StoreHealth::Options verification;
    verification.verify_every = std::chrono::milliseconds(
        static_cast<std::int64_t>(options.verify_every_days * 86'400'000));
    verification.verify_bytes_per_second = options.verify_bytes_per_second;
    control::StoreHealth health(*store, links, *events, verification);
    iscsi::PortalSet portals(reactors.pointers(), links, options.portal);
    Result<> listening;
    for (const std::string& address : options.portals)
        if (listening) listening = portals.listen(address);

    control::ControlContext context{links,
                                    *store,
                                    tasks,
                                    uploads,
                                    exports,
                                    server_paths,
                                    transfers,
                                    *garbage,
                                    *events,
                                    traces,
                                    pins,
                                    portals,
                                    overlays.root,
                                    options.advertise,
                                    reactors.io_kind(),
                                    std::chrono::steady_clock::now()};
    std::vector<http::Route> routes;
    control::add_link_routes(routes, context);
    control::add_usage_routes(routes, context);
    control::add_store_routes(routes, context);
    control::add_garbage_routes(routes, context);
    control::add_integrity_routes(routes, context);
    control::add_status_routes(routes, context);
    http::Server server(std::move(routes), {.server_name = "goldlink-target"});
    for (const std::string& address : options.control)
        if (listening) listening = server.listen(address);

    if (listening) {
        tasks.start();
        health.start([&portals] {
            std::uint64_t bytes = 0;
            for (const iscsi::PortalCounters& one : portals.counters())
                bytes += one.data_in_bytes + one.data_out_bytes;
            return bytes;
        });
        log::info("serving {} links at {}, I/O by {}", links.size(),
                  fmt::join(portals.addresses(), ", "), context.io_kind);
        std::puts("ready");
        std::fflush(stdout);
        log::info("ending on signal {}", wait_for_termination());
    }
    events->close();
    links.stop_looking();
    server.stop();
    tasks.stop();
    health.stop();
    portals.stop();
    links.close();
    return listening;
}

int run(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Serves diskless machines their disks over iSCSI: copy-on-write overlays over golden "
        "images.",
        "goldlink-target");
    app.set_version_flag("--version", GOLDLINK_VERSION);
    app.add_option("--state-dir", options.state_dir, "Folder of images, overlays and state")
        ->capture_default_str();
    app.add_option(
        "--control", options.control,
        "Where the control API listens: unix:/path (repeatable) [unix:STATE_DIR/target.sock]");
    app.add_option("--portal", options.portals,
                   "Address and port for initiators (repeatable) [0.0.0.0:3260]");
    app.add_option("--advertise", options.advertise,
                   "Address and port to tell booting machines, when it differs from the portal's");
    app.add_option("--import-dir", options.import_folders,
                   "Folder whose files may be imported by their path on this machine (repeatable) "
                   "[none]");
    app.add_option("--reactors", options.reactors,
                   "Threads that serve, each on a core of its own [one per core]")
        ->check(CLI::Range(0U, 256U));
    app.add_option("--ram-dir", options.ram_dir,
                   "tmpfs folder for the first part of discard overlays");
    app.add_option("--ram-budget", options.ram_budget_bytes,
                   "Bytes that all overlays together may take there")
        ->transform(CLI::AsSizeValue(false));
    app.add_option("--reserve", options.reserve_bytes, "Bytes to leave free on the disk [1 GiB]")
        ->transform(CLI::AsSizeValue(false));
    app.add_option("--locked-memory", options.locked_memory_bytes,
                   "Bytes of memory to lock for the image chunks that are read most; 0: none [a "
                   "quarter of the memory]")
        ->transform(CLI::AsSizeValue(false));
    app.add_option("--verify-every", options.verify_every_days,
                   "Days after which each version is read and checked again; 0: never by itself")
        ->check(CLI::Range(0.0, 3650.0))
        ->capture_default_str();
    app.add_option("--verify-rate", options.verify_bytes_per_second,
                   "Bytes a second to read for that; an eighth while clients are busy [64 MiB]")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(std::uint64_t{64} << 10, std::uint64_t{1} << 40));
    app.add_option("--max-connections", options.portal.max_connections,
                   "TCP connections of all initiators together")
        ->check(CLI::Range(1U, 1'000'000U))
        ->capture_default_str();
    app.add_option("--max-connections-per-address", options.portal.max_connections_per_address,
                   "Of one address; a room behind NAT has one")
        ->check(CLI::Range(1U, 1'000'000U))
        ->capture_default_str();
    app.add_option("--max-sessions-per-initiator", options.portal.max_sessions_per_initiator,
                   "Of one initiator name with one link")
        ->check(CLI::Range(1U, 65'000U))
        ->capture_default_str();
    app.add_option("--logins-per-second", options.portal.logins_per_second_per_address,
                   "From one address; twice as many at once")
        ->check(CLI::Range(1U, 1'000'000U))
        ->capture_default_str();
    app.add_option("--login-timeout", options.login_seconds,
                   "Seconds from connecting to the end of the login")
        ->check(CLI::Range(1U, 600U))
        ->capture_default_str();
    app.add_option("--stall-timeout", options.stall_seconds,
                   "Seconds until an initiator is dropped that takes no data or leaves a request "
                   "unfinished; twice as many if it sends none of a write's data")
        ->check(CLI::Range(1U, 3600U))
        ->capture_default_str();
    app.add_option("--stop-grace", options.stop_grace_seconds,
                   "Seconds that initiators get to log out when the target stops")
        ->check(CLI::Range(0U, 600U))
        ->capture_default_str();
    app.add_option("--congestion-control", options.portal.congestion_control,
                   "TCP's at the portals; 'system' leaves the system's")
        ->capture_default_str();
    app.add_option("--boot-trace", options.boot_trace_seconds,
                   "Seconds of a version's first boot that are recorded, to be read ahead of later "
                   "boots; 0: none")
        ->check(CLI::Range(0U, 3600U))
        ->capture_default_str();
    app.add_option("--log-level", options.log_level, "debug, info, warn or error")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    if (options.control.empty())
        options.control.push_back("unix:" + options.state_dir + "/target.sock");
    if (options.portals.empty()) options.portals.push_back("0.0.0.0:3260");
    if (options.portal.congestion_control == "system") options.portal.congestion_control.clear();
    options.portal.login_timeout_ms = options.login_seconds * 1000;
    options.portal.stall_timeout_ms = options.stall_seconds * 1000;
    options.portal.stop_grace_ms = options.stop_grace_seconds * 1000;

    block_termination_signals();
    init_log("goldlink-target", options.log_level);
    raise_descriptor_limit();
    if (const auto served = serve(options); !served) {
        log::error("{}", served.error().message);
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace goldlink

int main(int argc, char** argv) { return goldlink::run(argc, argv); }
