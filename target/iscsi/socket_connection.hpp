// SocketConnection: a Connection on its TCP socket: non-blocking recvmsg into the reactor's shared
// staging buffer or straight into a command's buffer, one sendmsg for a batch of replies (of large
// reads that the disk lends, references to its pages), back pressure, an orderly close. Lives on
// the link's reactor, owned by its PortalReactor.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "common/file.hpp"
#include "target/iscsi/connection.hpp"
#include "target/iscsi/progress_watch.hpp"
#include "target/reactor/poller.hpp"
#include "target/reactor/reactor.hpp"

namespace goldlink::iscsi {

class PortalReactor;

// A connection on its way to its reactor.
struct AcceptedSocket {
    FileDescriptor socket;
    std::string host;  // what admission counts by
    std::string peer;  // "10.0.0.7:41234"
    PortalAddresses portals;
    std::uint64_t accepted_ms = 0;
    std::vector<std::uint8_t> received;  // of the login, as far as it was read
    std::uint32_t answered = 0;          // requests in it that have their (empty) answer
};

class SocketConnection final : public Transport, public reactor::Pollable, public reactor::TurnEnd {
  public:
    SocketConnection(PortalReactor& owner, AcceptedSocket accepted);
    ~SocketConnection() override;

    void start();
    void tick(std::uint64_t now_ms);
    // Of what has a session; what has none is closed.
    void request_logout(std::uint16_t seconds);
    void end(SessionEnd why);  // closes at once, without waiting for the peer

    std::list<SocketConnection>::iterator self;  // in the owner's list
    const std::string& host() const { return host_; }
    std::uint64_t accepted_ms() const { return accepted_ms_; }
    bool is_discovery() const { return connection_.is_discovery() && !connection_.closing(); }
    bool is_half_open() const { return !connection_.logged_in() && !connection_.closing(); }

  private:
    // Transport
    void output_pending() override;
    void flush() override;
    // reactor
    void ready(bool readable, bool writable) override;
    void turn_ended() override;

    ssize_t send_some(const OutputQueue& output);
    void receive();
    void take(Bytes staged);
    void settle();
    void lost(SessionEnd why);
    void close_socket();
    void drain_until_closed();
    bool drop_if_stuck(std::uint64_t now_ms);

    PortalReactor& owner_;
    FileDescriptor socket_;
    std::string host_;
    std::uint64_t accepted_ms_;
    std::uint64_t closing_since_ms_ = 0;
    std::uint64_t received_bytes_ = 0;
    std::uint64_t sent_bytes_ = 0;
    ProgressWatch input_watch_;
    ProgressWatch output_watch_;
    std::vector<std::uint8_t> backlog_;  // received, but input is paused
    bool watched_ = false;
    bool watches_input_ = true;
    bool watches_output_ = false;
    bool broken_ = false;           // sending failed
    bool refers_to_pages_ = false;  // what the socket has not sent yet may be pages of a disk
    bool lingering_ = false;        // our side is shut down; waiting for the peer's
    Connection connection_;
};

}  // namespace goldlink::iscsi
