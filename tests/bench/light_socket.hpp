// What keeps the load's own sockets light. One function; any thread.
#pragma once

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string_view>

namespace goldlink::bench {

// Where the system's choice is bbr, a socket paces what it sends by timers: on loopback that is CPU
// time of the load, not of the target.
inline void set_congestion_control(int fd) {
    constexpr std::string_view kCubic = "cubic";
    static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kCubic.data(), kCubic.size()));
}

}  // namespace goldlink::bench
