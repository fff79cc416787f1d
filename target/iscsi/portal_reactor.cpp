#include "target/iscsi/portal_reactor.hpp"

#include <openssl/rand.h>

#include <chrono>
#include <string_view>
#include <unordered_map>

#include "common/check.hpp"

namespace goldlink::iscsi {

namespace {

void random_bytes(MutableBytes bytes) {
    CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1,
          "the system's random generator fails");
}

}  // namespace

std::uint64_t clock_ms() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

PortalReactor::PortalReactor(reactor::Reactor& reactor, Directory& directory,
                             const PortalOptions& options, Admission& admission)
    : reactor_(reactor),
      options_(options),
      admission_(admission),
      environment_(directory, &random_bytes, reactor.index()),
      staging_(kStagingBytes),
      timer_(reactor.context()) {
    environment_.ping_interval_ms = options.ping_interval_ms;
    environment_.ping_timeout_ms = options.ping_timeout_ms;
    environment_.data_out_timeout_ms = 2 * std::uint64_t{options.stall_timeout_ms};
    environment_.max_sessions_per_initiator = options.max_sessions_per_initiator;
    schedule_tick();
}

void PortalReactor::adopt(AcceptedSocket accepted) {
    SocketConnection& connection = connections_.emplace_front(*this, std::move(accepted));
    connection.self = connections_.begin();
    connection.start();
    if (++half_open_ > options_.max_half_open) drop_oldest_half_open();
}

// A login that has begun is bounded in number as well as in time: who comes later gets its chance.
void PortalReactor::drop_oldest_half_open() {
    half_open_ = 0;
    SocketConnection* oldest = nullptr;
    for (SocketConnection& connection : connections_) {
        if (!connection.is_half_open()) continue;
        ++half_open_;
        oldest = &connection;
    }
    if (half_open_ <= options_.max_half_open) return;
    --half_open_;
    environment_.counters.half_open_dropped.add();
    oldest->end(SessionEnd::timeout);
}

void PortalReactor::remove(SocketConnection& connection) {
    admission_.release(connection.host());
    connections_.erase(connection.self);
    if (connections_.empty() && emptied_) std::exchange(emptied_, nullptr)();
}

void PortalReactor::request_logouts(std::uint16_t seconds) {
    for (SocketConnection& connection : connections_) connection.request_logout(seconds);
}

void PortalReactor::end_all(SessionEnd why) {
    for (SocketConnection& connection : connections_) connection.end(why);
}

void PortalReactor::when_empty(std::function<void()> emptied) {
    if (connections_.empty()) return emptied();
    emptied_ = std::move(emptied);
}

void PortalReactor::schedule_tick() {
    timer_.expires_after(kTick);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) tick();
    });
}

void PortalReactor::tick() {
    const std::uint64_t now_ms = clock_ms();
    // A connection's tick never destroys it: that happens at the end of the turn.
    half_open_ = 0;
    bool discovery = false;
    for (SocketConnection& connection : connections_) {
        connection.tick(now_ms);
        if (connection.is_half_open()) ++half_open_;
        discovery = discovery || connection.is_discovery();
    }
    if (discovery) bound_discovery(now_ms);
    if (on_tick) on_tick(now_ms);
    schedule_tick();
}

// Between two ticks the rate of logins bounds them.
void PortalReactor::bound_discovery(std::uint64_t now_ms) {
    std::unordered_map<std::string_view, std::size_t> of_address;
    std::size_t all = 0;
    for (SocketConnection& connection : connections_) {  // newest first
        if (!connection.is_discovery()) continue;
        const bool over = ++of_address[connection.host()] > options_.max_discovery_per_address ||
                          ++all > options_.max_discovery;
        if (!over && now_ms - connection.accepted_ms() < options_.discovery_timeout_ms) continue;
        environment_.counters.discovery_dropped.add();
        connection.end(SessionEnd::timeout);
    }
}

}  // namespace goldlink::iscsi
