// goldlink-target: serves disks over iSCSI. Puts the parts together, in the order in which they
// depend on each other, and takes them apart the other way round.
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <optional>

#include "common/file.hpp"
#include "common/http/server.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"
#include "common/signals.hpp"
#include "target/control/control_context.hpp"
#include "target/control/identity.hpp"
#include "target/control/store_health.hpp"
#include "target/control/store_opening.hpp"
#include "target/reactor/io_ring.hpp"
#include "target/reactor/reactor.hpp"
#include "target/store/resident_chunks.hpp"
#include "target/store/space_account.hpp"
#include "target/store/standby_store.hpp"
#include "target/store/store_folder.hpp"
#include "target/store/store_rebuild.hpp"

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
    unsigned discovery_seconds = 60;
    unsigned stall_seconds = 30;
    unsigned stop_grace_seconds = 1;
    unsigned boot_trace_seconds = 180;
    double trash_days = 7;
    std::string log_level = "info";
    bool rebuild_store = false, drop_unnamed = false, rebuild_anyway = false;
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

// A folder of files that come and go: without it the target serves all the same.
void open_or_say(const std::filesystem::path& folder, std::string_view what,
                 const std::function<Result<>()>& open, Problems& problems) {
    const std::string without = fmt::format("{} do not work", what);
    if (!folder_or_set_aside(folder, without, problems)) return;
    const auto opened = open();
    if (opened) return;
    log::error("{}: {}", without, opened.error().message);
    problems.add({"state", fmt::format("{}: {}", without, opened.error().message),
                  fmt::format("mend {}, and start this server again", folder.string())});
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

    // The store's own lock is not held while the store cannot be used.
    GOLDLINK_TRY_ASSIGN(const auto lock, store::lock_folder(state_dir, "the state folder"));
    GOLDLINK_TRY_ASSIGN(const auto identity, control::Identity::open(state_dir));
    for (const char* const folder : {"store", "overlays"})
        GOLDLINK_TRY(make_directories(state_dir / folder));
    store::SpaceAccount space(options.reserve_bytes);
    for (const char* const folder : {"", "store", "overlays"})
        space.keep_free_at(state_dir / folder);
    store::StandbyStore store(state_dir / "store", options.locked_memory_bytes, space, [&] {
        return identity->check(state_dir / "store", control::FolderKind::store);
    });
    if (!store.try_open()) log::error("no image is served, all else is: {}", store.problem());
    Problems problems;
    const auto events = EventLog::open(state_dir / "events.jsonl", EventLog::kKeep, &problems);
    problems.add_source([&events] { return events->problems(); });
    // Before the reactors, whose timers end what is recorded.
    control::BootTraces traces(state_dir / "boot-traces", store,
                               std::chrono::seconds(options.boot_trace_seconds));
    traces.load(problems);
    control::Pins pins(state_dir / "pins.json", store, traces);
    pins.load(problems);
    const Reactors reactors(options.reactors);

    control::OverlaySettings overlays;
    overlays.root = state_dir / "overlays";
    overlays.identity = identity.get();
    overlays.reserve_bytes = options.reserve_bytes;
    overlays.keep_trash =
        std::chrono::seconds(static_cast<std::int64_t>(options.trash_days * 86'400));
    if (!options.ram_dir.empty() && options.ram_budget_bytes > 0) {
        overlays.ram_root = options.ram_dir;
        overlays.ram_budget_bytes = options.ram_budget_bytes;
    }
    control::LinkTable links(state_dir, overlays, store, *events, reactors.pointers(), traces);
    control::RegistryBinding registry(state_dir, identity->id());
    GOLDLINK_TRY(registry.load());
    control::UploadSpool uploads(state_dir / "uploads", space);
    open_or_say(
        state_dir / "uploads", "uploads", [&] { return uploads.open(); }, problems);
    control::ExportFiles exports(state_dir / "exports");
    open_or_say(
        state_dir / "exports", "exports", [&] { return exports.open(); }, problems);
    const control::ServerPaths server_paths(
        {options.import_folders.begin(), options.import_folders.end()});
    control::Arrivals arrivals(store);
    control::Transfers transfers(store);
    std::optional<control::GarbageCollector> garbage;
    control::TaskQueue tasks(
        state_dir / "tasks.json",
        [&](const control::TaskRequest& request, store::Progress& progress) {
            if (request.kind == "gc") return control::run_gc(request, progress, *garbage);
            return control::run_task(request, progress, links, store,
                                     {uploads, exports, server_paths, arrivals}, traces);
        },
        *events, 2, [&store] { return store.made_count(); });
    garbage.emplace(store, links, tasks, uploads, exports);
    tasks.set_why_not([&store] { return store.problem(); });
    tasks.load(problems);
    GOLDLINK_TRY(links.load());  // from here on everything ends by the steps at the bottom

    control::StoreHealth::Options verification;
    verification.verify_every = std::chrono::milliseconds(
        static_cast<std::int64_t>(options.verify_every_days * 86'400'000));
    verification.verify_bytes_per_second = options.verify_bytes_per_second;
    control::StoreHealth health(store, links, *events, verification);
    control::StoreOpening opening(store, links, tasks);
    iscsi::PortalSet portals(reactors.pointers(), links, options.portal);
    Result<> listening;
    for (const std::string& address : options.portals)
        if (listening) listening = portals.listen(address);

    control::ServingProblems serving(links);
    problems.add_source([&serving] { return serving.list(); });
    control::ControlContext context{links,
                                    store,
                                    tasks,
                                    uploads,
                                    exports,
                                    server_paths,
                                    arrivals,
                                    transfers,
                                    *garbage,
                                    *events,
                                    problems,
                                    serving,
                                    traces,
                                    pins,
                                    registry,
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
    control::add_registry_routes(routes, context);
    control::add_trash_routes(routes, context);
    control::add_status_routes(routes, context);
    control::add_live_route(routes, reactors.pointers(), context);
    http::Server server(std::move(routes), {.server_name = "goldlink-target"});
    for (const std::string& address : options.control)
        if (listening) listening = server.listen(address);

    if (listening) {
        opening.start();
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
    opening.stop();
    tasks.stop();
    health.stop();
    portals.stop();
    links.close();
    return listening;
}

void print_rebuild(const store::RebuildReport& report) {
    fmt::print("the index names {} versions and {} chunks\n", report.versions, report.chunks);
    const auto list = [](std::string_view what, const std::vector<std::string>& items) {
        for (const std::string& item : items) fmt::print("{}: {}\n", what, item);
    };
    list("damaged, chunks of it are not in any pack", report.damaged_versions);
    list("damaged", report.unusable_manifests);
    list("not read", report.unusable_packs);
    if (report.unnamed_chunks > 0)
        fmt::print("{} chunks ({} MiB) are of no manifest that is there; {}\n",
                   report.unnamed_chunks, report.unnamed_chunks * store::kChunkBytes >> 20,
                   report.unnamed_kept ? "they are kept, --drop-unnamed gives their space back"
                                       : "their space is free now");
    if (!report.set_aside.empty())
        fmt::print("the index that was there is now {}\n", report.set_aside.string());
    std::fflush(stdout);
}

// An index in order would lose what it knows of verifications and damage.
Result<> rebuild_store(const Options& options) {
    const auto folder = std::filesystem::path(options.state_dir) / "store";
    if (!options.rebuild_anyway) {
        std::error_code error;
        if (!std::filesystem::is_directory(folder, error))
            return failure(ErrorKind::not_found,
                           fmt::format("there is no image store {}", folder.string()));
        const auto opened = store::ImageStore::open(folder);
        if (opened && (*opened)->problem().empty()) {
            fmt::print("the index of the image store {} is in order; --anyway makes it anew\n",
                       folder.string());
            return {};
        }
        if (!opened && opened.error().kind == ErrorKind::conflict) return Failure(opened.error());
        fmt::print("{}\n", opened ? (*opened)->problem() : opened.error().message);
    }
    std::uint64_t told = 0;
    GOLDLINK_TRY_ASSIGN(
        const auto report,
        store::rebuild_index(
            folder, options.drop_unnamed, [&told](std::uint64_t done, std::uint64_t total) {
                const std::uint64_t percent = total == 0 ? 100 : done * 100 / total;
                if (percent < told + 5) return;
                told = percent;
                fmt::print("{} of {} MiB read, {} %\n", done >> 20, total >> 20, percent);
                std::fflush(stdout);
            }));
    print_rebuild(report);
    return {};
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
    app.add_option(
           "--verify-every", options.verify_every_days,
           "Days after which each version, and each disk that keeps what is written, is read and "
           "checked again; 0: never by itself")
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
    app.add_option("--discovery-timeout", options.discovery_seconds,
                   "Seconds that a discovery session may last, from connecting on")
        ->check(CLI::Range(1U, 3600U))
        ->capture_default_str();
    app.add_option("--max-discovery-per-address", options.portal.max_discovery_per_address,
                   "Discovery sessions of one address, on a reactor; the oldest goes when exceeded")
        ->check(CLI::Range(1U, 1'000'000U))
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
    app.add_option("--trash-days", options.trash_days,
                   "Days that the kept disks of removed links stay in the trash")
        ->check(CLI::Range(0.0, 3650.0))
        ->capture_default_str();
    app.add_option("--log-level", options.log_level, "debug, info, warn or error")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    app.add_flag("--rebuild-store", options.rebuild_store,
                 "Make the image store's index anew from packs and manifests, and end");
    app.add_flag("--drop-unnamed", options.drop_unnamed,
                 "With it: give back the space of chunks that no manifest names");
    app.add_flag("--rebuild-anyway", options.rebuild_anyway,
                 "With it: also when the index is in order");
    CLI11_PARSE(app, argc, argv);
    if (options.control.empty())
        options.control.push_back("unix:" + options.state_dir + "/target.sock");
    if (options.portals.empty()) options.portals.push_back("0.0.0.0:3260");
    if (options.portal.congestion_control == "system") options.portal.congestion_control.clear();
    options.portal.login_timeout_ms = options.login_seconds * 1000;
    options.portal.discovery_timeout_ms = options.discovery_seconds * 1000;
    options.portal.stall_timeout_ms = options.stall_seconds * 1000;
    options.portal.stop_grace_ms = options.stop_grace_seconds * 1000;

    block_termination_signals();
    init_log("goldlink-target", options.log_level);
    raise_descriptor_limit();
    if (const auto served = options.rebuild_store ? rebuild_store(options) : serve(options);
        !served) {
        log::error("{}", served.error().message);
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace goldlink

int main(int argc, char** argv) { return goldlink::run(argc, argv); }
