// PortalReactor: the portal's part on one reactor: its environment, its connections, their shared
// receive buffer and vectors, and the coarse clock. Made, used and destroyed on that reactor.
#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <vector>

#include "target/iscsi/admission.hpp"
#include "target/iscsi/environment.hpp"
#include "target/iscsi/page_sender.hpp"
#include "target/iscsi/portal.hpp"
#include "target/iscsi/socket_connection.hpp"

namespace goldlink::iscsi {

// Milliseconds of the steady clock.
std::uint64_t clock_ms();

class PortalReactor {
  public:
    static constexpr std::size_t kStagingBytes = 256 * 1024;
    static constexpr std::size_t kSmallStagingBytes = 4096;  // see PduStream::expects_large_data
    static constexpr std::size_t kMaxVectors = 512;
    static constexpr std::uint64_t kLingerMs = 2'000;
    static constexpr std::chrono::milliseconds kTick{500};

    PortalReactor(reactor::Reactor& reactor, Directory& directory, const PortalOptions& options,
                  Admission& admission);

    void adopt(AcceptedSocket accepted);
    void remove(SocketConnection& connection);  // destroys it
    void request_logouts(std::uint16_t seconds);
    void end_all(SessionEnd why);
    // Calls `emptied` when, or as soon as, no connection is left.
    void when_empty(std::function<void()> emptied);
    void stop_ticking() { timer_.cancel(); }

    // Something to do with each tick.
    std::function<void(std::uint64_t now_ms)> on_tick;

    reactor::Reactor& reactor() { return reactor_; }
    Environment& environment() { return environment_; }
    const PortalOptions& options() const { return options_; }
    MutableBytes staging() { return staging_; }
    std::array<iovec, kMaxVectors>& vectors() { return vectors_; }
    PageSender& page_sender() { return page_sender_; }

  private:
    void schedule_tick();
    void tick();
    void drop_oldest_half_open();
    void bound_discovery(std::uint64_t now_ms);

    reactor::Reactor& reactor_;
    PortalOptions options_;
    Admission& admission_;
    Environment environment_;
    std::vector<std::uint8_t> staging_;
    std::array<iovec, kMaxVectors> vectors_{};
    PageSender page_sender_;
    boost::asio::steady_timer timer_;
    std::list<SocketConnection> connections_;  // newest first
    std::size_t half_open_ = 0;                // at most so many; counted anew with each tick
    std::function<void()> emptied_;
};

}  // namespace goldlink::iscsi
