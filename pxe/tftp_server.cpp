#include "pxe/tftp_server.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <thread>
#include <unordered_map>

#include "common/log.hpp"
#include "pxe/loop_check.hpp"
#include "pxe/rate_limit.hpp"
#include "pxe/tftp_transfer.hpp"

namespace goldlink::pxe {

namespace {

using Clock = std::chrono::steady_clock;
using tftp::ErrorCode;
using tftp::Transfer;

constexpr std::chrono::milliseconds kTick{50};        // how exact retransmit times are
constexpr std::chrono::minutes kLongestTransfer{15};  // however steadily it crawls
constexpr int kRequestsPerWake = 64;
// For how long a transfer stands still before another client may have its place.
constexpr std::chrono::seconds kStandsStill{3};
constexpr std::chrono::milliseconds kStandsStillUnanswered{250};

struct Running {
    FileDescriptor socket;
    BootFile file;
    std::string name;
    tftp::ReadRequest asked;
    Endpoint peer;
    Clock::time_point started;
    Transfer transfer;
};

}  // namespace

struct TftpServer::State {
    State(const BootFiles& boot_files, Metrics& counters, NbpSent sent)
        : files(boot_files), metrics(counters), on_sent(std::move(sent)) {}

    const BootFiles& files;
    Metrics& metrics;
    const NbpSent on_sent;
    std::vector<std::string> interfaces;
    std::function<bool(Ipv4)> is_known;
    FileDescriptor listener, poll, stop;
    LoopCheck check;
    std::uint16_t port = 0;
    std::unordered_map<int, std::unique_ptr<Running>> running;
    std::map<Endpoint, int> by_peer;
    RateLimit log_limit{2, 20};
    RateLimit known_limit{50, 50};  // each look at who asks reads the ARP cache
    std::thread thread;

    void run();
    void accept_requests();
    void request(const Datagram& from, Bytes packet);
    void refuse(const Datagram& from, ErrorCode code, const std::string& why);
    bool asks_again(const Endpoint& peer, const tftp::ReadRequest& read);
    bool make_room(Ipv4 client);
    template <typename Filter>
    bool drop_stillest(const Filter& filter);
    void drop(int fd, const char* why);
    void begin(const Datagram& from, const tftp::ReadRequest& read, const std::string& name,
               BootFile file);
    void packets_of(Running& one);
    void perform(Running& one, const Transfer::Step& step);
    void send_blocks(Running& one, std::uint64_t first, std::uint32_t count);
    void finish_ended();
    void check_deadlines();
    bool served(unsigned interface_index) const;
    template <typename... Args>
    void warn(fmt::format_string<Args...> format, Args&&... args);
    std::vector<int> ended;
};

template <typename... Args>
void TftpServer::State::warn(fmt::format_string<Args...> format, Args&&... args) {
    if (!log_limit.allow(Clock::now())) return;
    const auto held_back = log_limit.take_held_back();
    const std::string text = fmt::format(format, std::forward<Args>(args)...);
    if (held_back > 0)
        log::warn("tftp: {} ({} more lines like this were held back)", text, held_back);
    else
        log::warn("tftp: {}", text);
}

bool TftpServer::State::served(unsigned interface_index) const {
    if (interfaces.empty()) return true;
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(interface_index, name.data()) == nullptr) return false;
    return std::find(interfaces.begin(), interfaces.end(), name.data()) != interfaces.end();
}

void TftpServer::State::refuse(const Datagram& from, ErrorCode code, const std::string& why) {
    metrics.tftp_refused++;
    warn("refused {}: {}", from.source.to_string(), why);
    const auto error = tftp::encode_error(code, why);
    if (const auto sent = send_to(listener.get(), error, from.source, from.local); !sent)
        log::debug("tftp: {}", sent.error().message);
}

void TftpServer::State::accept_requests() {
    std::array<std::uint8_t, 2048> buffer;
    for (int i = 0; i < kRequestsPerWake; ++i) {
        const auto datagram = receive_from(listener.get(), buffer);
        if (!datagram) {
            warn("{}", datagram.error().message);
            return;
        }
        if (!*datagram) return;
        if (!served((*datagram)->interface_index) || (*datagram)->source.port == 0) continue;
        request(**datagram, Bytes(buffer).first((*datagram)->bytes));
    }
}

void TftpServer::State::request(const Datagram& from, Bytes packet) {
    const auto message = tftp::parse(packet);
    // An error in answer to what is no request at all would only help to reflect packets.
    if (!message || std::holds_alternative<tftp::Ack>(*message) ||
        std::holds_alternative<tftp::Data>(*message) ||
        std::holds_alternative<tftp::PeerError>(*message))
        return;
    metrics.tftp_requests++;
    const auto* read = std::get_if<tftp::ReadRequest>(&*message);
    if (read == nullptr) return refuse(from, ErrorCode::access, "this server is read only");
    finish_ended();
    if (asks_again(from.source, *read)) return;
    if (read->mode != "octet") return refuse(from, ErrorCode::illegal, "only octet mode is served");
    const std::string name = tftp::plain_name(read->file);
    auto file = files.open(name);
    if (!file) {
        const ErrorCode code =
            file.error().kind == ErrorKind::not_found ? ErrorCode::not_found : ErrorCode::access;
        return refuse(from, code,
                      is_boot_file_name(name)
                          ? fmt::format("{}: {}", name,
                                        code == ErrorCode::not_found ? "no such boot file"
                                                                     : "this file may not be read")
                          : file.error().message);
    }
    if (!make_room(from.source.address))
        return refuse(from, ErrorCode::undefined, "too many transfers at once; try again");
    begin(from, *read, name, std::move(*file));
}

// A request from a port that has a transfer. Some ROMs use one port at every power-on, so that it
// may be a machine that was reset: it begins anew. While nothing was acknowledged, the same request
// again is only impatience: the transfer keeps its port, which the client may have learned by now.
bool TftpServer::State::asks_again(const Endpoint& peer, const tftp::ReadRequest& read) {
    const auto at = by_peer.find(peer);
    if (at == by_peer.end()) return false;
    Running& one = *running.at(at->second);
    if (one.transfer.answered() || one.asked != read) {
        drop(at->second, "the client began anew");
        return false;
    }
    perform(one, one.transfer.repeat());
    return true;
}

void TftpServer::State::drop(int fd, const char* why) {
    const auto at = running.find(fd);
    log::debug("tftp: {} of {} ended: {}", at->second->name, at->second->peer.to_string(), why);
    metrics.tftp_failed++;
    by_peer.erase(at->second->peer);
    running.erase(at);
    metrics.tftp_running = running.size();
}

// Of the transfers that `filter` takes, ends the one without progress for longest.
template <typename Filter>
bool TftpServer::State::drop_stillest(const Filter& filter) {
    const Running* stillest = nullptr;
    for (const auto& [fd, one] : running)
        if (filter(*one) && (stillest == nullptr ||
                             one->transfer.last_progress() < stillest->transfer.last_progress()))
            stillest = one.get();
    if (stillest == nullptr) return false;
    drop(stillest->socket.get(), "another client needed its place");
    return true;
}

bool TftpServer::State::make_room(Ipv4 client) {
    const auto now = Clock::now();
    const auto stands_still = [now](const Running& one) {
        const auto still = now - one.transfer.last_progress();
        return one.transfer.answered() ? still >= kStandsStill : still >= kStandsStillUnanswered;
    };
    const auto of_address =
        std::distance(by_peer.lower_bound({client, 0}), by_peer.upper_bound({client, 0xffff}));
    if (of_address >= static_cast<std::ptrdiff_t>(kMaxTransfersPerAddress) &&
        !drop_stillest(
            [&](const Running& one) { return one.peer.address == client && stands_still(one); }))
        return false;
    const auto unanswered = [](const Running& one) { return !one.transfer.answered(); };
    const auto of_nobody = std::count_if(running.begin(), running.end(), [&](const auto& entry) {
        return unanswered(*entry.second);
    });
    if (of_nobody >= static_cast<std::ptrdiff_t>(kMaxUnanswered)) drop_stillest(unanswered);
    if (running.size() < kMaxTransfers - kReservedTransfers) return true;
    if (drop_stillest(stands_still)) return true;
    return running.size() < kMaxTransfers && is_known && known_limit.allow(now) && is_known(client);
}

void TftpServer::State::begin(const Datagram& from, const tftp::ReadRequest& read,
                              const std::string& name, BootFile file) {
    auto socket = open_udp_to(from.local, from.source);
    if (!socket) return warn("{}", socket.error().message);
    const auto now = Clock::now();
    const std::uint64_t bytes = file.bytes;
    auto one = std::make_unique<Running>(
        Running{std::move(*socket), std::move(file), name, read, from.source, now,
                Transfer(tftp::negotiate(read.options, bytes), bytes)});
    const int fd = one->socket.get();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        return warn("cannot watch a transfer's socket: {}", std::generic_category().message(errno));
    log::debug("tftp: {} reads {} ({} bytes, block {}, window {})", from.source.to_string(), name,
               bytes, one->transfer.terms().block_bytes, one->transfer.terms().window_blocks);
    by_peer[from.source] = fd;
    Running& started = *one;
    running[fd] = std::move(one);
    metrics.tftp_running = running.size();
    perform(started, started.transfer.start(now));
}

void TftpServer::State::send_blocks(Running& one, std::uint64_t first, std::uint32_t count) {
    std::array<std::uint8_t, tftp::kDataHeaderBytes + tftp::kMaxBlockBytes> packet;
    for (std::uint64_t block = first; block < first + count; ++block) {
        const std::size_t length = one.transfer.length_of(block);
        tftp::store_data_header(packet.data(), static_cast<std::uint16_t>(block));
        std::size_t have = 0;
        while (have < length) {
            const ssize_t n =
                ::pread(one.file.fd.get(), packet.data() + tftp::kDataHeaderBytes + have,
                        length - have, static_cast<off_t>(one.transfer.offset_of(block) + have));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) {
                // The file was cut short or the disk fails; the deadline ends the transfer.
                warn("cannot read {} at block {}", one.file.path, block);
                return;
            }
            have += static_cast<std::size_t>(n);
        }
        // A full socket buffer loses the packet, as the network may: the peer asks again.
        if (::send(one.socket.get(), packet.data(), tftp::kDataHeaderBytes + length, MSG_NOSIGNAL) <
            0)
            return;
    }
}

void TftpServer::State::perform(Running& one, const Transfer::Step& step) {
    std::vector<std::uint8_t> packet;
    switch (step.send) {
        case Transfer::Step::Send::nothing:
            break;
        case Transfer::Step::Send::blocks:
            send_blocks(one, step.first, step.count);
            break;
        case Transfer::Step::Send::option_ack:
            packet = tftp::encode_option_ack(one.transfer.terms().accepted);
            break;
        case Transfer::Step::Send::error:
            packet = tftp::encode_error(step.error, step.error_text);
            break;
    }
    if (!packet.empty() && ::send(one.socket.get(), packet.data(), packet.size(), MSG_NOSIGNAL) < 0)
        log::debug("tftp: cannot send to {}", one.peer.to_string());
    if (one.transfer.state() != Transfer::State::running) ended.push_back(one.socket.get());
}

void TftpServer::State::packets_of(Running& one) {
    std::array<std::uint8_t, 2048> buffer;
    while (one.transfer.state() == Transfer::State::running) {
        const ssize_t n = ::recv(one.socket.get(), buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        // ECONNREFUSED is the client's host saying that nobody listens there now; it may be a late
        // word about an earlier packet, so the deadline decides.
        if (n < 0) return;
        perform(one, one.transfer.receive(Bytes(buffer).first(static_cast<std::size_t>(n)),
                                          Clock::now()));
    }
}

void TftpServer::State::finish_ended() {
    for (const int fd : ended) {
        const auto at = running.find(fd);
        if (at == running.end()) continue;
        const Running& one = *at->second;
        metrics.tftp_retransmitted_blocks += one.transfer.retransmitted();
        if (one.transfer.state() == Transfer::State::done) {
            metrics.tftp_completed++;
            metrics.tftp_bytes += one.file.bytes;
            on_sent(one.peer.address, one.name, one.file.bytes);
        } else {
            metrics.tftp_failed++;
            // UEFI asks for the size, ends the transfer and begins another: nothing to warn of.
            log::debug("tftp: {} of {} ended: {}", one.name, one.peer.to_string(),
                       one.transfer.why());
        }
        by_peer.erase(one.peer);
        running.erase(at);  // closes the socket, which leaves the epoll set by that
    }
    ended.clear();
    metrics.tftp_running = running.size();
}

void TftpServer::State::check_deadlines() {
    const auto now = Clock::now();
    for (const auto& [fd, one] : running) {
        if (one->transfer.state() != Transfer::State::running) continue;
        const bool answered = one->transfer.answered();
        if (now - one->started > kLongestTransfer) {
            warn("{} of {} took longer than {} minutes and was ended", one->name,
                 one->peer.to_string(), kLongestTransfer.count());
            ended.push_back(fd);
        } else if (now >= one->transfer.deadline()) {
            perform(*one, one->transfer.timeout(now));
            if (one->transfer.state() == Transfer::State::failed && answered)
                warn("{} of {} failed: {}", one->name, one->peer.to_string(), one->transfer.why());
        }
    }
}

void TftpServer::State::run() {
    std::array<epoll_event, 128> events;
    auto next_check = Clock::now();
    for (;;) {
        const int wait_ms = running.empty() ? -1 : static_cast<int>(kTick.count());
        const int count =
            ::epoll_wait(poll.get(), events.data(), static_cast<int>(events.size()), wait_ms);
        const auto ready = [&](int i) { return events[static_cast<std::size_t>(i)].data.fd; };
        // Requests first: one that a client repeated came before the ACK it sent since.
        for (int i = 0; i < count; ++i)
            if (ready(i) == listener.get()) accept_requests();
        for (int i = 0; i < count; ++i) {
            const int fd = ready(i);
            if (fd == stop.get()) return;
            if (fd == check.descriptor())
                check.answer();
            else if (const auto at = running.find(fd); at != running.end())
                packets_of(*at->second);
        }
        if (Clock::now() >= next_check) {
            check_deadlines();
            next_check = Clock::now() + kTick;
        }
        finish_ended();
    }
}

Result<std::unique_ptr<TftpServer>> TftpServer::start(const TftpOptions& options,
                                                      const BootFiles& files, Metrics& metrics,
                                                      NbpSent on_sent) {
    auto state = std::make_unique<State>(files, metrics, std::move(on_sent));
    state->interfaces = options.interfaces;
    state->is_known = options.is_known;
    GOLDLINK_TRY_ASSIGN(state->listener, open_udp(options.listen, "", false));
    sockaddr_in bound{};
    socklen_t length = sizeof bound;
    if (::getsockname(state->listener.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0)
        return system_failure("cannot read the TFTP socket's port");
    state->port = ntohs(bound.sin_port);
    state->poll = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
    state->stop = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!state->poll || !state->stop) return system_failure("cannot set up the TFTP event loop");
    GOLDLINK_TRY(LoopCheck::make(state->check));
    for (const int fd : {state->listener.get(), state->stop.get(), state->check.descriptor()}) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        if (::epoll_ctl(state->poll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
            return system_failure("cannot watch the TFTP socket");
    }
    State* const raw = state.get();
    state->thread = std::thread([raw] { raw->run(); });
    return std::unique_ptr<TftpServer>(new TftpServer(std::move(state)));
}

TftpServer::TftpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

TftpServer::~TftpServer() {
    const std::uint64_t one = 1;
    // An eventfd takes a write of 1 unless its counter is at its end, which nobody else drives up.
    [[maybe_unused]] const auto n = ::write(state_->stop.get(), &one, sizeof one);
    state_->thread.join();
}

std::uint16_t TftpServer::port() const { return state_->port; }

bool TftpServer::turns(std::chrono::milliseconds limit) { return state_->check.turns(limit); }

}  // namespace goldlink::pxe
