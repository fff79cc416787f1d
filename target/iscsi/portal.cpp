#include "target/iscsi/portal.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <mutex>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/iscsi/pending_login.hpp"
#include "target/iscsi/portal_reactor.hpp"
#include "target/iscsi/socket_address.hpp"

namespace goldlink::iscsi {

namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};  // when the process has no descriptor left

// On a listening socket, for those that it accepts.
void set_congestion_control(int fd, const std::string& name) {
    if (name.empty() || ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                                     static_cast<socklen_t>(name.size())) == 0)
        return;
    log::warn(
        "{}; the portals use the system's, and "
        "/proc/sys/net/ipv4/tcp_available_congestion_control names those there are",
        system_failure("cannot use TCP congestion control '" + name + "'").value().message);
}

Result<FileDescriptor> listening_socket(const SocketAddress& address,
                                        const std::string& congestion_control) {
    const std::string where = address.to_string();
    FileDescriptor socket(
        ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return system_failure("cannot make a socket for portal " + where);
    const int on = 1;
    static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    if (address.storage.ss_family == AF_INET6)  // 0.0.0.0 and [::] are separate portals
        static_cast<void>(::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    if (::bind(socket.get(), address.get(), address.length) != 0)
        return system_failure("cannot listen on portal " + where +
                              " (is another target running, and is the address of this host?)");
    set_congestion_control(socket.get(), congestion_control);
    if (::listen(socket.get(), kBacklog) != 0)
        return system_failure("cannot listen on portal " + where);
    return socket;
}

}  // namespace

struct PortalSet::State {
    // One listening socket, on the accepting reactor.
    struct Listener {
        Listener(boost::asio::io_context& context, int fd)
            : descriptor(context, fd), pause(context) {}
        boost::asio::posix::stream_descriptor descriptor;
        boost::asio::steady_timer pause;
    };

    State(std::vector<reactor::Reactor*> reactors_, Directory& directory_, PortalOptions options_)
        : reactors(std::move(reactors_)),
          directory(directory_),
          options(options_),
          admission({.total = options.max_connections,
                     .per_address = options.max_connections_per_address,
                     .logins_per_second = options.logins_per_second_per_address}) {
        CHECK(!reactors.empty(), "a portal needs a reactor");
    }

    reactor::Reactor& accepting() { return *reactors.front(); }
    void begin();
    void finish();
    void await_connection(Listener& listener);
    void accept_some(Listener& listener);
    void admit(FileDescriptor socket);
    void hand_off(unsigned index, AcceptedSocket accepted);
    bool wait_until_empty(std::chrono::milliseconds most);
    void expect_empty();

    std::vector<reactor::Reactor*> reactors;
    Directory& directory;
    PortalOptions options;
    Admission admission;
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused_total{0}, refused_address{0}, refused_rate{0};
    std::atomic<std::uint64_t> dropped_early{0}, timed_out_early{0};  // before their first request
    std::vector<std::unique_ptr<PortalReactor>> parts;                // one a reactor
    std::unique_ptr<PendingLogins> pending;                           // on the accepting reactor
    std::vector<std::unique_ptr<Listener>> listeners;                 // likewise
    std::uint64_t last_refusal_log_ms = 0;                            // likewise

    mutable std::mutex mutex;  // guards what is below
    std::condition_variable changed;
    std::vector<std::string> addresses;
    std::vector<std::string> advertised;  // without wildcards
    std::size_t empty_parts = 0;
    bool stopped = false;
};

void PortalSet::State::begin() {
    parts.resize(reactors.size());
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->run_and_wait([&] {
            parts[i] = std::make_unique<PortalReactor>(*reactors[i], directory, options, admission);
        });
    accepting().run_and_wait([&] {
        pending = std::make_unique<PendingLogins>(
            accepting(), directory, options.max_half_open,
            [this](unsigned index, AcceptedSocket socket) { hand_off(index, std::move(socket)); },
            [this](const AcceptedSocket& socket, PendingLogins::Why why) {
                log::debug("{}: connection dropped: {}", socket.peer,
                           PendingLogins::to_string(why));
                if (why == PendingLogins::Why::too_many)
                    dropped_early.fetch_add(1, std::memory_order_relaxed);
                else if (why == PendingLogins::Why::timeout)
                    timed_out_early.fetch_add(1, std::memory_order_relaxed);
                admission.release(socket.host);
            });
        parts.front()->on_tick = [this](std::uint64_t now_ms) {
            pending->expire(now_ms, options.login_timeout_ms);
            admission.expire(now_ms);
        };
    });
}

void PortalSet::State::await_connection(Listener& listener) {
    listener.descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                   [this, &listener](const boost::system::error_code& error) {
                                       if (!error) accept_some(listener);
                                   });
}

void PortalSet::State::accept_some(Listener& listener) {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
        FileDescriptor socket(::accept4(listener.descriptor.native_handle(), nullptr, nullptr,
                                        SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (socket) {
            admit(std::move(socket));
            continue;
        }
        if (errno == EAGAIN) break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log::error("{}", system_failure("cannot accept connections for now").value().message);
            listener.pause.expires_after(kAcceptPause);
            listener.pause.async_wait([this, &listener](const boost::system::error_code& error) {
                if (!error) await_connection(listener);
            });
            return;
        }
    }
    await_connection(listener);
}

void PortalSet::State::admit(FileDescriptor socket) {
    const SocketAddress peer = SocketAddress::peer_of(socket.get());
    const SocketAddress local = SocketAddress::local_of(socket.get());
    if (peer.length == 0 || local.length == 0) return;  // it is gone again
    const std::uint64_t now_ms = clock_ms();
    AcceptedSocket connection{.socket = std::move(socket),
                              .host = peer.host(),
                              .peer = peer.to_string(),
                              .portals = {.local = local.to_string(), .others = {}},
                              .accepted_ms = now_ms,
                              .received = {}};
    if (const auto answer = admission.admit(connection.host, now_ms);
        answer != Admission::Answer::admitted) {
        auto& refused = answer == Admission::Answer::too_many   ? refused_total
                        : answer == Admission::Answer::too_fast ? refused_rate
                                                                : refused_address;
        refused.fetch_add(1, std::memory_order_relaxed);
        constexpr std::uint64_t kLogEveryMs = 1'000;  // a flood of logins is no flood of lines
        if (now_ms - last_refusal_log_ms < kLogEveryMs) return;
        last_refusal_log_ms = now_ms;
        log::warn(
            "{}: connection refused: {}", connection.peer,
            answer == Admission::Answer::too_many   ? "the portal's limit of connections is reached"
            : answer == Admission::Answer::too_fast ? "too many logins a second from this address"
                                                    : "too many connections from this address");
        return;
    }
    accepted.fetch_add(1, std::memory_order_relaxed);
    {
        const std::lock_guard lock(mutex);
        connection.portals.others = advertised;
    }
    pending->add(std::move(connection));
}

void PortalSet::State::hand_off(unsigned index, AcceptedSocket socket) {
    if (index >= reactors.size()) index = accepting().index();
    // std::function wants a copyable callable.
    auto shared = std::make_shared<AcceptedSocket>(std::move(socket));
    reactors[index]->post([this, index, shared] {
        if (parts[index])
            parts[index]->adopt(std::move(*shared));
        else
            admission.release(shared->host);
    });
}

void PortalSet::State::expect_empty() {
    {
        const std::lock_guard lock(mutex);
        empty_parts = 0;
    }
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->run_and_wait([&] {
            parts[i]->when_empty([this] {
                const std::lock_guard lock(mutex);
                ++empty_parts;
                changed.notify_all();
            });
        });
}

bool PortalSet::State::wait_until_empty(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex);
    const auto empty = [this] { return empty_parts == reactors.size(); };
    if (most.count() > 0) return changed.wait_for(lock, most, empty);
    changed.wait(lock, empty);
    return true;
}

void PortalSet::State::finish() {
    accepting().run_and_wait([&] {
        listeners.clear();
        parts.front()->on_tick = nullptr;
        pending.reset();
    });
    const auto seconds = static_cast<std::uint16_t>((options.stop_grace_ms + 999) / 1000);
    // A hand-off that was posted before has run when these have.
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->run_and_wait([&] { parts[i]->request_logouts(seconds); });
    expect_empty();
    if (!wait_until_empty(std::chrono::milliseconds(options.stop_grace_ms))) {
        for (std::size_t i = 0; i < reactors.size(); ++i)
            reactors[i]->run_and_wait([&] { parts[i]->end_all(SessionEnd::connection_lost); });
        wait_until_empty({});
    }
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->run_and_wait([&] { parts[i]->stop_ticking(); });
    for (std::size_t i = 0; i < reactors.size(); ++i)
        reactors[i]->run_and_wait([&] {
            const std::lock_guard lock(mutex);  // counters() may be reading
            parts[i].reset();
        });
}

PortalSet::PortalSet(std::vector<reactor::Reactor*> reactors, Directory& directory,
                     PortalOptions options)
    : state_(std::make_unique<State>(std::move(reactors), directory, options)) {
    state_->begin();
}

PortalSet::~PortalSet() { stop(); }

Result<> PortalSet::listen(std::string_view address) {
    GOLDLINK_TRY_ASSIGN(const SocketAddress parsed, SocketAddress::parse(address));
    GOLDLINK_TRY_ASSIGN(FileDescriptor socket,
                        listening_socket(parsed, state_->options.congestion_control));
    const SocketAddress bound = SocketAddress::local_of(socket.get());
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->stopped) return failure(ErrorKind::cancelled, "the portal has been stopped");
        state_->addresses.push_back(bound.to_string());
        if (!bound.is_wildcard()) state_->advertised.push_back(bound.to_string());
    }
    state_->accepting().run_and_wait([&] {
        auto listener =
            std::make_unique<State::Listener>(state_->accepting().context(), socket.release());
        state_->await_connection(*listener);
        state_->listeners.push_back(std::move(listener));
    });
    return {};
}

std::vector<std::string> PortalSet::addresses() const {
    const std::lock_guard lock(state_->mutex);
    return state_->addresses;
}

void PortalSet::stop() {
    {
        const std::lock_guard lock(state_->mutex);
        if (std::exchange(state_->stopped, true)) return;
    }
    state_->finish();
}

std::size_t PortalSet::session_count() const {
    std::size_t count = 0;
    for (const PortalCounters& of_reactor : counters()) count += of_reactor.sessions;
    return count;
}

std::vector<PortalCounters> PortalSet::counters() const {
    std::vector<PortalCounters> all;
    const std::lock_guard lock(state_->mutex);
    for (const auto& part : state_->parts) {
        if (!part) return {};  // stopped
        const ReactorCounters& from = part->environment().counters;
        all.push_back({.sessions = from.sessions.get(),
                       .connections_accepted = 0,
                       .refused_total = 0,
                       .refused_address = 0,
                       .refused_rate = 0,
                       .half_open_dropped = from.half_open_dropped.get(),
                       .login_timeouts = from.login_timeouts.get(),
                       .slow_readers = from.slow_readers.get(),
                       .slow_writers = from.slow_writers.get(),
                       .silent_peers = from.silent_peers.get(),
                       .session_limit_refusals = from.session_limit_refusals.get(),
                       .discovery_dropped = from.discovery_dropped.get(),
                       .logins = from.logins.get(),
                       .logins_refused = from.logins_refused.get(),
                       .logins_redirected = from.logins_redirected.get(),
                       .commands = from.commands.get(),
                       .data_in_bytes = from.data_in_bytes.get(),
                       .data_out_bytes = from.data_out_bytes.get(),
                       .rejects = from.rejects.get(),
                       .digest_errors = from.digest_errors.get(),
                       .task_management = from.task_management.get()});
    }
    // Accepting is the first reactor's.
    all.front().connections_accepted = state_->accepted.load(std::memory_order_relaxed);
    PortalCounters& first = all.front();
    first.refused_total = state_->refused_total.load(std::memory_order_relaxed);
    first.refused_address = state_->refused_address.load(std::memory_order_relaxed);
    first.refused_rate = state_->refused_rate.load(std::memory_order_relaxed);
    first.half_open_dropped += state_->dropped_early.load(std::memory_order_relaxed);
    first.login_timeouts += state_->timed_out_early.load(std::memory_order_relaxed);
    return all;
}

}  // namespace goldlink::iscsi
