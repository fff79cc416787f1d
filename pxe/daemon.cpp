#include "pxe/daemon.hpp"

#include <fmt/format.h>

#include <optional>

#include "common/event_log.hpp"
#include "common/file.hpp"
#include "common/http/server.hpp"
#include "common/log.hpp"
#include "pxe/control.hpp"
#include "pxe/dhcp_server.hpp"
#include "pxe/http.hpp"
#include "pxe/neighbours.hpp"
#include "pxe/tftp_server.hpp"

namespace goldlink::pxe {

namespace {

// A room's worth of machines may ask at the same moment.
constexpr unsigned kHttpConnections = 512;
constexpr std::string_view kNeededFiles[] = {"undionly.kpxe", "snponly.efi"};

// ":8081" is that port of the interface's address.
Result<std::string> http_address(const Options& options) {
    if (!options.http.starts_with(":")) return options.http;
    GOLDLINK_TRY_ASSIGN(const Interface here, find_interface(options.interfaces.front()));
    return here.address.to_string() + options.http;
}

Result<std::optional<LeasePool>> lease_pool(const Options& options) {
    if (options.mode != Mode::dhcp) return std::optional<LeasePool>();
    GOLDLINK_TRY_ASSIGN(const Interface here, find_interface(options.interfaces.front()));
    PoolOptions pool;
    pool.first = options.range_first;
    pool.last = options.range_last;
    pool.server = here.address;
    pool.netmask = here.netmask;
    pool.router = options.router;
    pool.dns_servers = options.dns_servers;
    pool.lease_seconds = options.lease_seconds;
    GOLDLINK_TRY_ASSIGN(LeasePool made, LeasePool::make(std::move(pool)));
    return std::optional(std::move(made));
}

void warn_of_missing_files(const BootFiles& files) {
    const FileNames names = files.names();
    for (const std::string_view name : kNeededFiles)
        if (!names.contains(name))
            log::warn(
                "{} has no {}; machines that need it cannot boot. Debian's package `ipxe` "
                "brings it",
                files.folder().string(), name);
}

}  // namespace

struct Daemon::Parts {
    Parts(const Options& options, const std::filesystem::path& state_dir)
        : tables(TableStore::open(state_dir / "table.json", problems)),
          event_log(EventLog::open(state_dir / "events.jsonl", EventLog::kKeep, &problems)),
          events(*event_log),
          files(options.boot_files),
          target(options.target_control),
          scripts(state(), target) {
        problems.add_source([this] { return event_log->problems(); });
    }

    BootState state() { return {*tables, boots, events, metrics}; }
    void nbp_sent(Ipv4 address, const std::string& file, std::uint64_t bytes);
    bool is_known(Ipv4 address) const;
    std::string stuck(std::chrono::milliseconds limit);

    // In the order they are made; the services, which use the rest, go first at the end.
    Problems problems;
    std::unique_ptr<TableStore> tables;
    std::unique_ptr<EventLog> event_log;
    BootEvents events;
    Boots boots;
    Metrics metrics;
    BootFiles files;
    TargetClient target;
    ScriptService scripts;
    std::unique_ptr<http::Server> boot_http;
    std::unique_ptr<TftpServer> tftp;
    std::unique_ptr<DhcpServer> dhcp;
    std::unique_ptr<http::Server> control;
};

// By the ARP table, which says who answers there; DHCP packets claim what they like.
bool Daemon::Parts::is_known(Ipv4 address) const {
    const auto mac = neighbour(address);
    return mac && tables->table()->find(*mac) != nullptr;
}

// A client read a boot file whole; which machine it is tells the DHCP traffic or the ARP table.
void Daemon::Parts::nbp_sent(Ipv4 address, const std::string& file, std::uint64_t bytes) {
    std::optional<Mac> mac = boots.mac_of(address);
    if (!mac) mac = neighbour(address);
    if (!mac) {
        log::info("{} was sent to {}, a machine not seen before", file, address.to_string());
        return;
    }
    boots.nbp_sent(*mac, std::chrono::steady_clock::now());
    const auto table = tables->table();
    const TableClient* client = table->find(*mac);
    BootEvent event;
    event.kind = "nbp_sent";
    event.mac = *mac;
    event.client_id = client != nullptr ? client->id : "";
    event.boot_id = boots.current(*mac);
    event.data = {{"file", file}, {"address", address.to_string()}};
    event.bytes = bytes;
    if (events.add_unproven(event))
        log::info("{} was sent to {} ({})", file, mac->to_string(), address.to_string());
}

std::string Daemon::Parts::stuck(std::chrono::milliseconds limit) {
    if (dhcp && !dhcp->turns(limit)) return "DHCP";
    if (tftp && !tftp->turns(limit)) return "TFTP";
    return {};
}

Result<std::unique_ptr<Daemon>> Daemon::start(const Options& options) {
    for (const std::string& name : options.interfaces) GOLDLINK_TRY(find_interface(name));
    const std::filesystem::path state_dir = options.state_dir;
    GOLDLINK_TRY(make_directories(state_dir));
    auto parts = std::make_unique<Parts>(options, state_dir);
    Parts* const p = parts.get();
    warn_of_missing_files(p->files);
    const auto on_file = [p](Ipv4 address, const std::string& file, std::uint64_t bytes) {
        p->nbp_sent(address, file, bytes);
    };

    http::ServerOptions http_options;
    http_options.max_connections = kHttpConnections;
    http_options.server_name = "goldlink-pxe";
    p->boot_http = std::make_unique<http::Server>(
        http_boot_routes(p->scripts, p->files, p->metrics, on_file), http_options);
    GOLDLINK_TRY_ASSIGN(const std::string http, http_address(options));
    GOLDLINK_TRY(p->boot_http->listen(http));

    if (options.mode != Mode::off) {
        DhcpOptions dhcp;
        dhcp.interfaces = options.interfaces;
        dhcp.http_port = p->boot_http->port();
        GOLDLINK_TRY_ASSIGN(dhcp.pool, lease_pool(options));
        dhcp.lease_file = state_dir / "leases.json";
        dhcp.problems = &p->problems;
        GOLDLINK_TRY_ASSIGN(p->dhcp, DhcpServer::start(std::move(dhcp), p->state(), p->files));
    }
    if (options.tftp) {
        const auto is_known = [p](Ipv4 address) { return p->is_known(address); };
        GOLDLINK_TRY_ASSIGN(
            p->tftp, TftpServer::start({*options.tftp, options.interfaces, is_known}, p->files,
                                       p->metrics, on_file));
    }

    const auto interfaces = [p, named = options.interfaces] {
        return p->dhcp ? p->dhcp->interfaces() : named;
    };
    const ControlState control{*p->tables,
                               *p->event_log,
                               p->problems,
                               [p](std::chrono::milliseconds limit) { return p->stuck(limit); },
                               p->boots,
                               p->files,
                               p->metrics,
                               std::string(to_string(options.mode)),
                               interfaces,
                               p->boot_http->port(),
                               p->tftp ? p->tftp->port() : std::uint16_t{0},
                               std::chrono::steady_clock::now()};
    p->control = std::make_unique<http::Server>(control_routes(control));
    GOLDLINK_TRY(p->control->listen(options.control));
    std::string where;
    for (const std::string& name : interfaces()) where += (where.empty() ? "" : ", ") + name;
    log::info("mode {}{}{}, HTTP boot on {}, {} clients in the table", to_string(options.mode),
              where.empty() ? "" : " on ", where, http, p->tables->table()->clients().size());
    return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Daemon::~Daemon() {
    parts_->event_log->close();
    parts_->control.reset();
    parts_->dhcp.reset();
    parts_->tftp.reset();
    parts_->boot_http.reset();
}

}  // namespace goldlink::pxe
