// ConnectionRoom: who gets a server's connections when there are not enough. Whoever makes many and
// says nothing must not keep others out: what waits for a request goes for one that comes, the
// oldest first, and those of addresses that have many before others; then what has been waiting for
// its peer within a request for long. One address has at most `per_address`, and the last
// `reserved` are for addresses that have few. Unix sockets are of this machine's own and only count
// in total.
//
// ConnectionSlot: one connection in it. Its own thread says what it does; the rest is the room's,
// under the lock of its owner.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <string>

#include "common/http/socket_stream.hpp"

namespace goldlink::http {

class ConnectionSlot {
  public:
    using Clock = SocketStream::Clock;

    ConnectionSlot(SocketStream& stream, std::string peer, Clock::time_point now = Clock::now());
    ConnectionSlot(const ConnectionSlot&) = delete;
    ConnectionSlot& operator=(const ConnectionSlot&) = delete;

    void await_request(Clock::time_point now = Clock::now()) { idle_since_.store(ticks(now)); }
    void begin_request() { idle_since_.store(0); }
    bool leaving() const { return leaving_; }

  private:
    friend class ConnectionRoom;
    static Clock::rep ticks(Clock::time_point time) { return time.time_since_epoch().count(); }

    SocketStream& stream_;
    const std::string peer_;
    std::atomic<Clock::rep> idle_since_;  // 0: there is a request
    bool leaving_ = false;                // it was shut down for another
};

class ConnectionRoom {
  public:
    using Clock = SocketStream::Clock;
    static constexpr unsigned kFew = 8;  // connections of an address that may use the reserve
    static constexpr std::chrono::seconds kStalled{5};

    struct Limits {
        unsigned total;
        unsigned per_address;
        unsigned reserved;
        static Limits of(unsigned total);
    };
    enum class Answer { admitted, full, full_of_address };

    explicit ConnectionRoom(Limits limits) : limits_(limits) {}

    // Admitted: it counts until remove(). For it another one may have been shut down.
    Answer admit(ConnectionSlot& slot, Clock::time_point now = Clock::now());
    void remove(ConnectionSlot& slot);
    bool empty() const { return slots_.empty(); }
    void shut_down_all();
    const Limits& limits() const { return limits_; }

  private:
    unsigned count_of(const std::string& peer) const;  // those that leave do not count
    bool make_room(const std::string* of_peer, Clock::time_point now);

    const Limits limits_;
    std::list<ConnectionSlot*> slots_;
    unsigned leaving_ = 0;
};

}  // namespace goldlink::http
