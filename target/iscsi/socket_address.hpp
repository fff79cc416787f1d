// Portal addresses as text, "10.0.0.1:3260" or "[fe80::1%eth0]:3260", and as sockets know them.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::iscsi {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }

    std::string host() const;       // without port and brackets; IPv4-mapped as IPv4
    std::string to_string() const;  // with both
    bool is_wildcard() const;

    // Numeric addresses only.
    static Result<SocketAddress> parse(std::string_view text);
    static SocketAddress local_of(int fd);
    static SocketAddress peer_of(int fd);
};

}  // namespace goldlink::iscsi
