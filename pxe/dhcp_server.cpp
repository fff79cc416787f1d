#include "pxe/dhcp_server.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "common/log.hpp"
#include "pxe/arp.hpp"
#include "pxe/decide.hpp"
#include "pxe/dhcp_listeners.hpp"
#include "pxe/lease_problems.hpp"
#include "pxe/lease_store.hpp"
#include "pxe/loop_check.hpp"
#include "pxe/offer_probes.hpp"
#include "pxe/rate_limit.hpp"
#include "pxe/solicitations.hpp"
#include "pxe/udp.hpp"

namespace goldlink::pxe {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPacketsPerWake = 64;

std::int64_t unix_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace

struct DhcpServer::State {
    State(DhcpOptions given, BootState shared, const BootFiles& boot_files)
        : options(std::move(given)), boot(shared), files(boot_files) {}

    DhcpOptions options;
    BootState boot;
    const BootFiles& files;
    std::unique_ptr<DhcpListeners> listeners;
    FileDescriptor stop;
    LoopCheck check;
    RateLimit log_limit{2, 20};
    OfferProbes probes;
    std::optional<ArpSocket> arp;  // while an offer waits
    LeaseProblems lease_problems;
    std::thread thread;

    void run();
    std::vector<pollfd> watched() const;
    void follow_interfaces();
    void receive(const DhcpListener& listener, std::uint16_t port);
    void packet(const DhcpListener& listener, std::uint16_t port, const Datagram& from,
                Bytes bytes);
    Ipv4 answer_from(const DhcpListener& listener, std::uint16_t port, const Datagram& from);
    void request(HeldOffer asked);
    void reply(const HeldOffer& asked);
    AddressAnswer address_for(const Packet& request, std::uint16_t port, const BootTable& table);
    bool hold(const HeldOffer& offer);
    void heard_by_arp();
    void go_on_probing();
    int wait_ms() const;
    void record(const Packet& request, const Decision& decision, const BootTable& table);
    void send(const HeldOffer& asked, const Decision& decision);
    void warn(const std::string& text);
};

void DhcpServer::State::warn(const std::string& text) {
    if (!log_limit.allow(Clock::now())) return;
    if (const auto held_back = log_limit.take_held_back(); held_back > 0)
        log::warn("dhcp: {} ({} more lines like this were held back)", text, held_back);
    else
        log::warn("dhcp: {}", text);
}

// The four of the service, then three of each listener. A descriptor of -1 is passed over.
std::vector<pollfd> DhcpServer::State::watched() const {
    std::vector<pollfd> all{{stop.get(), POLLIN, 0},
                            {check.descriptor(), POLLIN, 0},
                            {listeners->descriptor(), POLLIN, 0},
                            {arp ? arp->descriptor() : -1, POLLIN, 0}};
    for (const auto& one : listeners->all()) {
        const int port67 =
            one->watched_port ? one->watched_port->descriptor() : one->server_port.get();
        for (const int fd : {port67, one->boot_server_port.get(), one->solicitations.get()})
            all.push_back({fd, POLLIN, 0});
    }
    return all;
}

void DhcpServer::State::run() {
    const auto is_booting = [this](const Mac& mac) {
        return boot.boots.is_booting(mac, Clock::now());
    };
    for (;;) {
        std::vector<pollfd> ready = watched();
        if (::poll(ready.data(), ready.size(), wait_ms()) < 0) continue;  // EINTR
        if (ready[0].revents != 0) return;
        if (ready[1].revents != 0) check.answer();
        // Before any packet is answered from an address that is no longer there.
        const auto next_try = listeners->next_try();
        if (ready[2].revents != 0 || (next_try && Clock::now() >= *next_try)) {
            follow_interfaces();
            continue;
        }
        if (ready[3].revents != 0) heard_by_arp();
        const pollfd* of_listener = ready.data() + 4;
        for (const auto& one : listeners->all()) {
            if (of_listener[0].revents != 0) receive(*one, kServerPort);
            if (of_listener[1].revents != 0) receive(*one, kBootServerPort);
            if (of_listener[2].revents != 0)
                answer_solicitations(one->solicitations.get(), is_booting);
            of_listener += 3;
        }
        go_on_probing();
    }
}

int DhcpServer::State::wait_ms() const {
    auto next = listeners->next_try();
    if (!probes.empty()) next = next ? std::min(*next, probes.next()) : probes.next();
    if (!next) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count();
    return static_cast<int>(std::max<std::int64_t>(0, left));
}

void DhcpServer::State::follow_interfaces() {
    listeners->follow(Clock::now());
    if (!options.pool) return;
    std::vector<std::pair<Ipv4, Ipv4>> addresses;
    for (const auto& one : listeners->all())
        for (const Interface& here : one->addresses)
            addresses.emplace_back(here.address, here.netmask);
    options.pool->serve_from(addresses);
}

void DhcpServer::State::receive(const DhcpListener& listener, std::uint16_t port) {
    std::array<std::uint8_t, 2048> buffer;
    const bool watches = port == kServerPort && listener.watched_port;
    const int fd =
        port == kServerPort ? listener.server_port.get() : listener.boot_server_port.get();
    for (int i = 0; i < kPacketsPerWake; ++i) {
        const auto datagram =
            watches ? listener.watched_port->receive(buffer) : receive_from(fd, buffer);
        if (!datagram) {  // an ICMP error of an earlier reply, or the interface went down
            warn(fmt::format("{}: {}", listener.interface, datagram.error().message));
            return;
        }
        if (!*datagram) return;
        boot.metrics.dhcp_requests++;
        packet(listener, port, **datagram, Bytes(buffer).first((*datagram)->bytes));
    }
}

AddressAnswer DhcpServer::State::address_for(const Packet& request, std::uint16_t port,
                                             const BootTable& table) {
    if (!options.pool || port != kServerPort) return {};
    AddressAnswer answer = options.pool->answer(request, unix_seconds(), table);
    if (answer.kind == AddressAnswer::Kind::unavailable)
        lease_problems.unavailable(*request.mac(), answer, Clock::now());
    if (!options.pool->take_changed()) return answer;
    // RFC 2131 section 2.2: an address acknowledged survives our restart.
    const auto saved = save_leases(options.lease_file, options.pool->leases());
    if (saved) return answer;
    options.pool->not_persisted();
    if (answer.kind != AddressAnswer::Kind::offer && answer.kind != AddressAnswer::Kind::ack)
        return answer;
    answer.probe = false;
    answer.kind = AddressAnswer::Kind::unavailable;
    answer.why = fmt::format("no lease can be kept, so none is given: {}", saved.error().message);
    answer.to_do = "free space on the disk of the state folder, or mend it";
    if (const auto mac = request.mac()) lease_problems.unavailable(*mac, answer, Clock::now());
    return answer;
}

// Empty: not for us, or nothing to answer from.
Ipv4 DhcpServer::State::answer_from(const DhcpListener& listener, std::uint16_t port,
                                    const Datagram& from) {
    const Ipv4 local = listeners->answer_from(listener, from);
    if (local.empty() && from.destination == kBroadcast)
        warn(
            fmt::format("a request on {} is left unanswered: the interface has no IPv4 address; "
                        "give it one",
                        listener.interface));
    // A machine renews with the server that it was told of, whichever of our addresses it reached.
    if (!local.empty() && options.pool && port == kServerPort && !options.pool->server().empty())
        return options.pool->server();
    return local;
}

void DhcpServer::State::packet(const DhcpListener& listener, std::uint16_t port,
                               const Datagram& from, Bytes bytes) {
    HeldOffer asked;
    asked.interface = listener.interface;
    asked.arrival = {port, from.source};
    asked.local = answer_from(listener, port, from);
    if (asked.local.empty()) return;
    auto parsed = parse_packet(bytes);
    if (!parsed) {
        boot.metrics.dhcp_malformed++;
        warn(fmt::format("{} from {} on {}", parsed.error().message, from.source.to_string(),
                         listener.interface));
        return;
    }
    asked.request = std::move(*parsed);
    // What the site's own server is asked for tells who has which address.
    if (asked.request.type == MessageType::request && asked.request.op == 1) {
        const Ipv4 wanted = asked.request.options.address(option::kRequestedAddress);
        if (const auto mac = asked.request.mac())
            boot.boots.learn_address(*mac, wanted.empty() ? asked.request.ciaddr : wanted);
    }
    request(std::move(asked));
}

void DhcpServer::State::request(HeldOffer asked) {
    asked.answer = address_for(asked.request, asked.arrival.port, *boot.tables.table());
    if (!asked.answer.probe || !hold(asked)) reply(asked);
}

void DhcpServer::State::reply(const HeldOffer& asked) {
    Site site;
    site.address = asked.local;
    site.http_port = options.http_port;
    site.boot_files = files.names();
    const auto table = boot.tables.table();
    const Decision decision = decide(asked.request, asked.arrival, site, *table, asked.answer);
    const auto mac = asked.request.mac();
    const std::string who = mac ? mac->to_string() : "a packet";
    if (decision.kind == Decision::Kind::ignore)
        return log::debug("dhcp: {} on {} ignored: {}", who, asked.interface, decision.why);
    if (decision.kind == Decision::Kind::refuse && decision.client.kind == ClientKind::other)
        warn(fmt::format("{} gets no address: {}", who, decision.why));
    // Recorded first: the machine's next step may otherwise get into the log before this one.
    if (decision.client.kind != ClientKind::other) record(asked.request, decision, *table);
    if (decision.reply.type != MessageType::none) send(asked, decision);
}

// False: it cannot be probed for, and is sent as it is.
bool DhcpServer::State::hold(const HeldOffer& offer) {
    if (!arp) {
        auto opened = ArpSocket::open(offer.interface);
        if (!opened) {
            warn(fmt::format("{} is offered without a look whether it is in use: {}",
                             offer.answer.address.to_string(), opened.error().message));
            return false;
        }
        arp.emplace(std::move(*opened));
    }
    const auto machine = offer.request.mac();
    const bool known = boot.tables.table()->find(*machine) != nullptr;
    if (!probes.hold(*machine, known, offer, Clock::now()))
        warn(fmt::format("{} has to ask again: too many machines want an address at once",
                         machine->to_string()));
    return true;
}

void DhcpServer::State::heard_by_arp() {
    for (int i = 0; i < kPacketsPerWake; ++i) {
        const auto sender = arp->receive();
        if (!sender) return;
        auto offer = probes.heard(sender->mac, sender->address);
        if (!offer) continue;
        const std::string owner = sender->mac.to_string();
        if (!options.pool->in_use(sender->address, sender->mac, unix_seconds())) {
            warn(
                fmt::format("{} answers for more addresses of --dhcp-range than one machine has, "
                            "as a router with proxy ARP does, and is not believed any more; "
                            "switch that off there",
                            owner));
            reply(*offer);
            continue;
        }
        warn(
            fmt::format("{} is in use by {}, which it was not leased to, and is left out; give "
                        "that machine another address, or leave this one out of --dhcp-range",
                        sender->address.to_string(), owner));
        lease_problems.in_use(sender->address, sender->mac, Clock::now());
        request(std::move(*offer));
    }
}

void DhcpServer::State::go_on_probing() {
    if (!arp) return;
    const auto now = Clock::now();
    for (const HeldOffer& offer : probes.take_free(now)) reply(offer);
    for (const Ipv4 address : probes.to_ask(now))
        if (const auto sent = arp->ask(options.pool->server(), address); !sent)
            warn(sent.error().message);
    if (probes.empty()) arp.reset();
}

void DhcpServer::State::send(const HeldOffer& asked, const Decision& decision) {
    const auto bytes = encode_packet(decision.reply);
    if (!bytes) return warn(bytes.error().message);
    const DhcpListener* listener = listeners->find(asked.interface);
    if (listener == nullptr) return;  // gone since
    const bool watches = asked.arrival.port == kServerPort && listener->watched_port;
    const int fd = asked.arrival.port == kServerPort ? listener->server_port.get()
                                                     : listener->boot_server_port.get();
    const auto sent = watches
                          ? listener->watched_port->send(*bytes, decision.destination, asked.local)
                          : send_to(fd, *bytes, decision.destination, asked.local);
    if (!sent) return warn(fmt::format("{} of {}", sent.error().message, asked.interface));
    boot.metrics.dhcp_replies++;
}

// A boot's events are those of its first packet; what firmware repeats adds none.
void DhcpServer::State::record(const Packet& request, const Decision& decision,
                               const BootTable& table) {
    const auto mac = request.mac();
    const bool refused = decision.kind == Decision::Kind::refuse;
    if (refused) boot.metrics.dhcp_refused++;
    if (!mac || request.type != MessageType::discover) return;
    const bool ipxe = decision.client.kind == ClientKind::ipxe;
    const auto seen = boot.boots.dhcp(*mac, ipxe, request.xid, Clock::now());
    if (!seen.first) return;

    const TableClient* client = table.find(*mac);
    BootEvent event;
    event.kind = "dhcp_discover";
    event.mac = *mac;
    event.client_id = client != nullptr ? client->id : "";
    event.boot_id = seen.boot_id;
    event.data = {{"arch", decision.client.architecture_name()},
                  {"uuid", decision.client.uuid},
                  {"stage", ipxe ? "ipxe" : "firmware"}};
    if (!boot.events.add_unproven(event)) return;
    event.kind = refused ? "boot_refused" : "dhcp_offer";
    event.data.emplace_back(refused ? "why" : "file", refused ? decision.why : decision.boot_file);
    boot.events.add(event);
    if (refused)
        warn(fmt::format("{} cannot boot: {}", mac->to_string(), decision.why));
    else
        log::info("dhcp: {} ({}{}) is offered {}", mac->to_string(), ipxe ? "iPXE on " : "",
                  decision.client.architecture_name(), decision.boot_file);
}

Result<std::unique_ptr<DhcpServer>> DhcpServer::start(DhcpOptions options, BootState shared,
                                                      const BootFiles& files) {
    auto state = std::make_unique<State>(std::move(options), shared, files);
    if (state->options.pool)
        state->options.pool->restore(
            load_leases(state->options.lease_file, *state->options.problems));
    GOLDLINK_TRY_ASSIGN(state->listeners, DhcpListeners::open(state->options.interfaces,
                                                              !state->options.pool.has_value()));
    state->stop = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!state->stop) return system_failure("cannot set up the DHCP thread");
    GOLDLINK_TRY(LoopCheck::make(state->check));
    State* const raw = state.get();
    raw->options.problems->add_source([raw] { return raw->lease_problems.list(Clock::now()); });
    raw->options.problems->add_source([raw] { return raw->listeners->problems(); });
    state->thread = std::thread([raw] { raw->run(); });
    return std::unique_ptr<DhcpServer>(new DhcpServer(std::move(state)));
}

DhcpServer::DhcpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

std::vector<std::string> DhcpServer::interfaces() const { return state_->listeners->served(); }

bool DhcpServer::turns(std::chrono::milliseconds limit) { return state_->check.turns(limit); }

DhcpServer::~DhcpServer() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(state_->stop.get(), &one, sizeof one);
    state_->thread.join();
}

}  // namespace goldlink::pxe
