#include "target/iscsi/socket_connection.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "common/log.hpp"
#include "target/iscsi/portal_reactor.hpp"

namespace goldlink::iscsi {

namespace {

// Batches taken from one connection before the others have their turn.
constexpr int kMaxRounds = 4;

void set_option(int fd, int level, int name, int value) {
    // A socket that refuses an option still works; nothing depends on them for correctness.
    static_cast<void>(::setsockopt(fd, level, name, &value, sizeof value));
}

// A PC that waits in its boot menu does not answer anything, keepalives neither; half an hour
// later its session goes, and iPXE opens it again when it goes on.
void tune(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1800);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 60);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
}

}  // namespace

SocketConnection::SocketConnection(PortalReactor& owner, AcceptedSocket accepted)
    : owner_(owner),
      socket_(std::move(accepted.socket)),
      host_(std::move(accepted.host)),
      accepted_ms_(accepted.accepted_ms),
      backlog_(std::move(accepted.received)),
      connection_(owner.environment(), *this, std::move(accepted.peer),
                  std::move(accepted.portals)) {
    connection_.already_answered(accepted.answered);
}

SocketConnection::~SocketConnection() {
    owner_.reactor().withdraw(*this);
    close_socket();
}

void SocketConnection::start() {
    tune(socket_.get());
    if (const auto watched = owner_.reactor().poller().watch(socket_.get(), *this, true, false);
        !watched) {
        log::error("{}: {}", host_, watched.error().message);
        return lost(SessionEnd::connection_lost);
    }
    watched_ = true;
    owner_.reactor().at_turn_end(*this);  // takes what was received before
}

void SocketConnection::ready(bool readable, bool writable) {
    if (lingering_) {
        drain_until_closed();
    } else if (readable && !watches_input_) {
        lost(SessionEnd::connection_lost);  // not asked for, so it is a hang-up
    } else {
        if (writable) flush();
        if (readable) receive();
    }
    settle();
}

void SocketConnection::receive() {
    for (int round = 0; round < kMaxRounds; ++round) {
        if (!backlog_.empty() || connection_.input_paused() || connection_.closing()) return;
        const MutableBytes direct = connection_.direct_space();
        const bool small = connection_.expects_large_data();
        MutableBytes staging = owner_.staging();
        if (small) staging = staging.first(PortalReactor::kSmallStagingBytes);
        ssize_t got = 0;
        if (direct.empty()) {
            got = ::recv(socket_.get(), staging.data(), staging.size(), 0);
        } else {
            const std::array<iovec, 2> vectors{iovec{direct.data(), direct.size()},
                                               iovec{staging.data(), staging.size()}};
            got = ::readv(socket_.get(), vectors.data(), static_cast<int>(vectors.size()));
        }
        if (got == 0) return lost(SessionEnd::connection_lost);
        if (got < 0) {
            if (errno == EAGAIN || errno == EINTR) return;
            return lost(SessionEnd::connection_lost);
        }
        const auto bytes = static_cast<std::size_t>(got);
        received_bytes_ += bytes;
        const std::size_t placed = std::min(bytes, direct.size());
        if (placed > 0) connection_.direct_received(placed);
        take(staging.first(bytes - placed));
        // A short read took all there was.
        if (bytes < direct.size() + staging.size()) return;
    }
}

void SocketConnection::take(Bytes staged) {
    const std::size_t used = connection_.consume(staged);
    if (used < staged.size() && !connection_.closing())
        backlog_.assign(staged.begin() + static_cast<std::ptrdiff_t>(used), staged.end());
}

void SocketConnection::output_pending() { owner_.reactor().at_turn_end(*this); }

void SocketConnection::turn_ended() {
    if (!backlog_.empty() && !connection_.input_paused() && !connection_.closing()) {
        const std::vector<std::uint8_t> staged = std::move(backlog_);
        backlog_.clear();
        take(staged);
    }
    settle();
}

// As much as the socket takes of what the queue begins with; the result is as of sendmsg.
ssize_t SocketConnection::send_some(const OutputQueue& output) {
    auto& vectors = owner_.vectors();
    PageSender& pages = owner_.page_sender();
    if (pages.available() && output.begins_with_large_lent()) {
        refers_to_pages_ = true;
        return pages.send(socket_.get(), output, vectors);
    }
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = output.gather(vectors.data(), vectors.size(), pages.available());
    return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void SocketConnection::flush() {
    OutputQueue& output = connection_.output();
    while (!output.empty() && !broken_ && socket_) {
        const ssize_t sent = send_some(output);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) broken_ = true;
            return;
        }
        sent_bytes_ += static_cast<std::uint64_t>(sent);
        output.sent(static_cast<std::size_t>(sent));
    }
}

// After anything happened: sends, and makes the watching and the life of the socket match.
void SocketConnection::settle() {
    if (!broken_) flush();
    if (broken_) lost(SessionEnd::connection_lost);
    if (connection_.closing() && socket_ && connection_.output().empty() && !lingering_) {
        // Closing with unread input would reset the connection and lose our last words.
        lingering_ = true;
        ::shutdown(socket_.get(), SHUT_WR);
        drain_until_closed();
    }
    if (!socket_) {
        // Commands may still be executing; the last one brings us here again.
        if (connection_.finished()) owner_.remove(*this);
        return;
    }
    const bool input = lingering_ || !(connection_.input_paused() || !backlog_.empty());
    const bool output = !lingering_ && !connection_.output().empty();
    if (input != watches_input_ || output != watches_output_) {
        watches_input_ = input;
        watches_output_ = output;
        owner_.reactor().poller().change(socket_.get(), *this, input, output);
    }
    if (!backlog_.empty() && !connection_.input_paused()) owner_.reactor().at_turn_end(*this);
}

void SocketConnection::drain_until_closed() {
    const MutableBytes staging = owner_.staging();
    for (int round = 0; round < kMaxRounds; ++round) {
        const ssize_t got = ::recv(socket_.get(), staging.data(), staging.size(), 0);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno == EAGAIN) return;
        return close_socket();
    }
}

void SocketConnection::lost(SessionEnd why) {
    close_socket();
    connection_.transport_lost(why);
    connection_.output().clear();
    owner_.reactor().at_turn_end(*this);
}

void SocketConnection::close_socket() {
    if (!socket_) return;
    if (watched_) owner_.reactor().poller().unwatch(socket_.get(), *this);
    watched_ = false;
    // What the socket still refers to may get other contents now that the session is over: it is
    // not to be delivered (a reset, instead of data and an end).
    int unsent_bytes = 0;
    if (refers_to_pages_ && ::ioctl(socket_.get(), SIOCOUTQ, &unsent_bytes) == 0 &&
        unsent_bytes > 0) {
        const linger at_once{1, 0};
        static_cast<void>(
            ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    }
    socket_.reset();
}

// A peer that takes no output, or leaves a PDU unfinished, holds buffers for as long as it likes.
bool SocketConnection::drop_if_stuck(std::uint64_t now_ms) {
    if (!socket_ || connection_.closing()) return false;
    const std::uint64_t timeout_ms = owner_.options().stall_timeout_ms;
    ReactorCounters& counters = owner_.environment().counters;
    if (output_watch_.stuck(now_ms, !connection_.output().empty(), sent_bytes_, timeout_ms)) {
        counters.slow_readers.add();
        log::warn("{}: dropped: it has taken next to nothing for {} ms while {} bytes wait for it",
                  host_, timeout_ms, connection_.output().queued_bytes());
    } else if (input_watch_.stuck(now_ms,
                                  connection_.logged_in() && connection_.input_unfinished() &&
                                      !connection_.input_paused(),
                                  received_bytes_, timeout_ms)) {
        counters.slow_writers.add();
        log::warn("{}: dropped: it has sent part of a PDU, and next to nothing more for {} ms",
                  host_, timeout_ms);
    } else {
        return false;
    }
    lost(SessionEnd::timeout);
    return true;
}

void SocketConnection::tick(std::uint64_t now_ms) {
    connection_.tick(now_ms);
    if (drop_if_stuck(now_ms)) return;
    if (!connection_.logged_in() && now_ms - accepted_ms_ >= owner_.options().login_timeout_ms)
        connection_.login_timed_out();
    if (!connection_.closing() || !socket_) return;
    if (closing_since_ms_ == 0) closing_since_ms_ = now_ms;
    // The peer takes neither our last words nor notice of the end.
    if (now_ms - closing_since_ms_ >= PortalReactor::kLingerMs) lost(SessionEnd::connection_lost);
    owner_.reactor().at_turn_end(*this);
}

void SocketConnection::request_logout(std::uint16_t seconds) {
    if (!connection_.logged_in()) return end(SessionEnd::connection_lost);
    connection_.request_logout(seconds);
}

void SocketConnection::end(SessionEnd why) {
    connection_.end(why);
    flush();
    lost(why);
}

}  // namespace goldlink::iscsi
