// The listeners and the bounded set of connection threads.
#include "common/http/server.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "common/check.hpp"
#include "common/http/connection.hpp"
#include "common/http/connection_room.hpp"
#include "common/log.hpp"

namespace goldlink::http {

std::string Request::header(std::string_view name) const {
    const auto it = headers.find(std::string(name));
    return it == headers.end() ? std::string() : it->second;
}

std::string Request::query_value(std::string_view name, std::string_view fallback) const {
    const auto it = query.find(std::string(name));
    return it == query.end() ? std::string(fallback) : it->second;
}

struct Server::State {
    State(std::vector<Route> routes, ServerOptions options)
        : context{Router(std::move(routes)), std::move(options), false,
                  FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))},
          room(ConnectionRoom::Limits::of(context.options.max_connections)) {}

    struct Listener {
        FileDescriptor fd;
        std::string unix_path;  // "" for TCP
        std::thread thread;
    };

    ConnectionContext context;
    std::list<Listener> listeners;  // of the owner's thread
    std::uint16_t port = 0;
    bool stopped = false;

    std::mutex mutex;
    std::condition_variable connection_ended;
    ConnectionRoom room;  // guarded by mutex
};

namespace {

// sendfile(2) has no MSG_NOSIGNAL: a peer that is gone must be an error, whatever the program does
// with SIGPIPE.
void block_sigpipe() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

struct Accepted {
    explicit Accepted(FileDescriptor fd)
        : stream(std::move(fd)), slot(stream, peer_host(stream.fd())) {}
    SocketStream stream;
    ConnectionSlot slot;
};

template <typename State>
void run_connection(const std::shared_ptr<State>& state, std::unique_ptr<Accepted> accepted) {
    block_sigpipe();
    serve_connection(accepted->stream, state->context, accepted->slot);
    const std::lock_guard lock(state->mutex);
    state->room.remove(accepted->slot);
    accepted->stream.close();
    state->connection_ended.notify_all();
}

// Said without waiting: a peer that does not take it at once goes without.
void refuse_busy(SocketStream& stream, const ConnectionContext& context,
                 const ConnectionRoom::Limits& limits, ConnectionRoom::Answer answer) {
    stream.set_step_timeout(std::chrono::milliseconds(0));
    Response response = problem(
        503, "too-many-connections", "Too many connections",
        answer == ConnectionRoom::Answer::full_of_address
            ? fmt::format("all {} connections that one address may have are in use; close some, or "
                          "try again in a moment",
                          limits.per_address)
            : fmt::format("all {} connections are in use; try again in a moment", limits.total));
    response.headers.emplace_back("Retry-After", "1");
    write_response(stream, Request{}, response, context, 11, false);
    stream.shut_down_send();
}

template <typename State>
void start_connection(const std::shared_ptr<State>& state, FileDescriptor fd) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on,
                 sizeof on);  // fails on unix sockets: fine
    auto accepted = std::make_unique<Accepted>(std::move(fd));
    Accepted* const raw = accepted.get();
    auto answer = ConnectionRoom::Answer::full;
    {
        const std::lock_guard lock(state->mutex);
        answer = state->room.admit(raw->slot);
    }
    if (answer != ConnectionRoom::Answer::admitted)
        return refuse_busy(raw->stream, state->context, state->room.limits(), answer);
    try {
        std::thread([state, raw] {
            run_connection(state, std::unique_ptr<Accepted>(raw));
        }).detach();
        static_cast<void>(accepted.release());  // the thread's
    } catch (const std::system_error& failure) {
        log::warn("{}: no thread for a connection: {}", state->context.options.server_name,
                  failure.what());
        const std::lock_guard lock(state->mutex);
        state->room.remove(raw->slot);
    }
}

// Accepts until the server stops. Out of descriptors: waits a little instead of spinning.
template <typename State>
void accept_loop(const std::shared_ptr<State>& state, int listen_fd) {
    std::array<pollfd, 2> polled{
        {{listen_fd, POLLIN, 0}, {state->context.stop_event.get(), POLLIN, 0}}};
    while (!state->context.stopping.load()) {
        if (::poll(polled.data(), polled.size(), -1) < 0 || polled[1].revents != 0) continue;
        FileDescriptor fd(::accept4(listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (fd) {
            start_connection(state, std::move(fd));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            ::poll(&polled[1], 1, 100);
        }
    }
}

}  // namespace

Server::Server(std::vector<Route> routes, ServerOptions options)
    : state_(std::make_shared<State>(std::move(routes), std::move(options))) {}

Server::~Server() { stop(); }

Result<> Server::listen(const std::string& address) {
    CHECK(!state_->stopped, "listen before stop");
    if (!state_->context.stop_event)
        return failure(ErrorKind::exhausted,
                       fmt::format("cannot serve {}: no file descriptor is left", address));
    GOLDLINK_TRY_ASSIGN(const Address parsed, Address::parse(address));
    GOLDLINK_TRY_ASSIGN(FileDescriptor fd, listen_on(parsed));
    if (!parsed.unix_socket) state_->port = local_port(fd.get());
    auto& listener = state_->listeners.emplace_back();
    listener.fd = std::move(fd);
    listener.unix_path = parsed.path;
    listener.thread =
        std::thread([state = state_, raw = listener.fd.get()] { accept_loop(state, raw); });
    return {};
}

std::uint16_t Server::port() const { return state_->port; }

void Server::stop() {
    if (state_->stopped) return;
    state_->stopped = true;
    state_->context.stopping.store(true);
    const std::uint64_t one = 1;
    CHECK(::write(state_->context.stop_event.get(), &one, sizeof one) == sizeof one,
          "eventfd takes a write");
    for (auto& listener : state_->listeners) {
        listener.thread.join();
        listener.fd.reset();
        if (!listener.unix_path.empty()) ::unlink(listener.unix_path.c_str());
    }
    std::unique_lock lock(state_->mutex);
    const auto all_ended = [this] { return state_->room.empty(); };
    if (state_->connection_ended.wait_for(lock, kStopGrace, all_ended)) return;
    state_->room.shut_down_all();
    state_->connection_ended.wait(lock, all_ended);
}

}  // namespace goldlink::http
