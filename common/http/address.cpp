// Addresses: parsing, connecting, listening, naming.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "common/http/socket_stream.hpp"

namespace goldlink::http {
namespace {

constexpr int kBacklog = 128;

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<AddressList> resolve(const Address& address, bool passive) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
    addrinfo* found = nullptr;
    const std::string port = std::to_string(address.port);
    const int code = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                   port.c_str(), &hints, &found);
    if (code != 0)
        return failure(ErrorKind::unavailable, fmt::format("cannot resolve host '{}': {}",
                                                           address.host, ::gai_strerror(code)));
    return AddressList(found, &::freeaddrinfo);
}

Result<sockaddr_un> unix_address(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof name.sun_path)
        return failure(ErrorKind::invalid,
                       fmt::format("unix socket path '{}' must have 1 to {} bytes", path,
                                   sizeof name.sun_path - 1));
    std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
    return name;
}

Result<FileDescriptor> connect_one(int family, const sockaddr* name, socklen_t length,
                                   std::chrono::milliseconds timeout, const std::string& what) {
    FileDescriptor fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return system_failure("cannot make a socket");
    if (::connect(fd.get(), name, length) != 0) {
        if (errno != EINPROGRESS) {
            auto refused = system_failure(what);
            refused.value().kind = ErrorKind::unavailable;
            return refused;
        }
        pollfd polled{fd.get(), POLLOUT, 0};
        int n = 0;
        do {
            n = ::poll(&polled, 1, static_cast<int>(timeout.count()));
        } while (n < 0 && errno == EINTR);
        if (n == 0) return failure(ErrorKind::timeout, what + ": no answer in time");
        int error = 0;
        socklen_t size = sizeof error;
        ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
            auto refused = system_failure(what, error);
            refused.value().kind = ErrorKind::unavailable;
            return refused;
        }
    }
    if (family != AF_UNIX) {
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return fd;
}

// A socket file left by a killed process refuses connections; a live one accepts them.
Result<> remove_stale_socket(const sockaddr_un& name) {
    struct stat info {};
    if (::lstat(name.sun_path, &info) != 0) return {};
    if (!S_ISSOCK(info.st_mode))
        return failure(ErrorKind::conflict,
                       fmt::format("{} exists and is no socket; remove it or choose another path",
                                   name.sun_path));
    FileDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!probe) return system_failure("cannot make a socket");
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 ||
        errno == EAGAIN)
        return failure(
            ErrorKind::conflict,
            fmt::format("{} is in use by a running process; stop it first", name.sun_path));
    if (::unlink(name.sun_path) != 0)
        return system_failure(fmt::format("cannot remove the stale socket {}", name.sun_path));
    return {};
}

Result<FileDescriptor> listen_unix(const std::string& path) {
    GOLDLINK_TRY_ASSIGN(const sockaddr_un name, unix_address(path));
    GOLDLINK_TRY(remove_stale_socket(name));
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return system_failure("cannot make a socket");
    // On Linux the mode given before bind is the new file's: it is never open to others.
    if (::fchmod(fd.get(), 0600) != 0 ||
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
        ::listen(fd.get(), kBacklog) != 0)
        return system_failure(fmt::format("cannot listen on unix:{}", path));
    return fd;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
    Address address;
    if (text.starts_with("unix:")) {
        address.unix_socket = true;
        address.path = std::string(text.substr(5));
        GOLDLINK_TRY(unix_address(address.path));
        return address;
    }
    const std::string whole(text);
    if (text.starts_with("http://")) text.remove_prefix(7);
    if (text.ends_with("/")) text.remove_suffix(1);
    const std::size_t colon = text.rfind(':');
    const auto bad = [&whole] {
        return failure(
            ErrorKind::invalid,
            fmt::format("'{}' is no address; write host:port, [v6]:port or unix:/path", whole));
    };
    if (colon == std::string_view::npos) return bad();
    std::string_view host = text.substr(0, colon);
    const std::string_view port = text.substr(colon + 1);
    if (host.starts_with("[") && host.ends_with("]") && host.size() > 2)
        host = host.substr(1, host.size() - 2);
    else if (host.find(':') != std::string_view::npos)
        return bad();
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error != std::errc() || end != port.data() + port.size()) return bad();
    address.host = std::string(host);
    return address;
}

Result<FileDescriptor> connect_to(const Address& address, std::chrono::milliseconds timeout) {
    if (address.unix_socket) {
        GOLDLINK_TRY_ASSIGN(const sockaddr_un name, unix_address(address.path));
        return connect_one(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name, timeout,
                           "cannot connect to unix:" + address.path);
    }
    GOLDLINK_TRY_ASSIGN(const AddressList list, resolve(address, false));
    Result<FileDescriptor> last = failure(ErrorKind::unavailable, "no address");
    for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
        last = connect_one(entry->ai_family, entry->ai_addr, entry->ai_addrlen, timeout,
                           fmt::format("cannot connect to {}:{}", address.host, address.port));
        if (last) break;
    }
    return last;
}

Result<FileDescriptor> listen_on(const Address& address) {
    if (address.unix_socket) return listen_unix(address.path);
    GOLDLINK_TRY_ASSIGN(const AddressList list, resolve(address, true));
    const addrinfo& entry = *list;
    FileDescriptor fd(::socket(entry.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return system_failure("cannot make a socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), entry.ai_addr, entry.ai_addrlen) != 0 || ::listen(fd.get(), kBacklog) != 0)
        return system_failure(fmt::format("cannot listen on {}:{}", address.host, address.port));
    return fd;
}

namespace {

std::string host_of(const sockaddr_storage& name) {
    char text[INET6_ADDRSTRLEN] = "";
    if (name.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &name, sizeof v4);
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    } else if (name.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &name, sizeof v6);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
            ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
        else
            ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    } else {
        return "unix";
    }
    return text;
}

std::uint16_t port_of(const sockaddr_storage& name) {
    // The port is at the same place in both families.
    sockaddr_in v4{};
    std::memcpy(&v4, &name, sizeof v4);
    return name.ss_family == AF_INET || name.ss_family == AF_INET6 ? ntohs(v4.sin_port)
                                                                   : std::uint16_t{0};
}

sockaddr_storage own_name(int fd) {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0)
        name.ss_family = AF_UNSPEC;
    return name;
}

}  // namespace

std::string local_name(int fd) {
    const sockaddr_storage name = own_name(fd);
    const std::string host = host_of(name);
    if (host == "unix") return host;
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port_of(name))
                                               : fmt::format("[{}]:{}", host, port_of(name));
}

std::string peer_host(int fd) {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) return "unix";
    return host_of(name);
}

std::uint16_t local_port(int fd) { return port_of(own_name(fd)); }

}  // namespace goldlink::http
