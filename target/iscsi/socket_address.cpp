#include "target/iscsi/socket_address.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <cstring>
#include <memory>

namespace goldlink::iscsi {

namespace {

constexpr std::string_view kMapped = "::ffff:";

std::uint16_t port_of(const SocketAddress& address) {
    if (address.storage.ss_family == AF_INET) {
        sockaddr_in v4;
        std::memcpy(&v4, &address.storage, sizeof v4);
        return ntohs(v4.sin_port);
    }
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    return ntohs(v6.sin6_port);
}

Failure malformed(std::string_view text) {
    return failure(ErrorKind::invalid, "portal address '" + std::string(text) +
                                           "' is not like 10.0.0.1:3260 or [::1]:3260");
}

}  // namespace

std::string SocketAddress::host() const {
    std::array<char, NI_MAXHOST> name{};
    if (::getnameinfo(get(), length, name.data(), name.size(), nullptr, 0, NI_NUMERICHOST) != 0)
        return "?";
    const std::string text(name.data());
    if (text.starts_with(kMapped) && text.find('.') != std::string::npos)
        return text.substr(kMapped.size());
    return text;
}

std::string SocketAddress::to_string() const {
    const std::string name = host();
    const std::string port = std::to_string(port_of(*this));
    return name.find(':') == std::string::npos ? name + ":" + port : "[" + name + "]:" + port;
}

bool SocketAddress::is_wildcard() const {
    const std::string name = host();
    return name == "0.0.0.0" || name == "::";
}

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return malformed(text);
    std::string_view host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    else if (host.find(':') != std::string_view::npos)
        return malformed(text);
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || host.empty())
        return malformed(text);

    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(std::string(host).c_str(), std::to_string(number).c_str(), &hints, &found) !=
        0)
        return malformed(text);
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    SocketAddress address;
    std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    address.length = found->ai_addrlen;
    return address;
}

SocketAddress SocketAddress::local_of(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (::getsockname(fd, address.get(), &address.length) != 0) address.length = 0;
    return address;
}

SocketAddress SocketAddress::peer_of(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (::getpeername(fd, address.get(), &address.length) != 0) address.length = 0;
    return address;
}

}  // namespace goldlink::iscsi
