#include "manager/cli/up/network.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>

#include "common/file.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

namespace {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

std::optional<SocketAddress> to_socket_address(const Endpoint& endpoint) {
    SocketAddress address;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    if (::inet_pton(AF_INET, endpoint.host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(endpoint.port);
        address.length = sizeof *v4;
        return address;
    }
    if (::inet_pton(AF_INET6, endpoint.host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(endpoint.port);
        address.length = sizeof *v6;
        return address;
    }
    return std::nullopt;
}

int family_number(Family family) { return family == Family::v6 ? AF_INET6 : AF_INET; }

// "" for a link-local IPv6 address: it means nothing without its zone.
std::string address_text(const sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = {};
    if (address->sa_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
        ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    } else {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
        if (!IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
            ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    }
    return text;
}

// The first address of an interface that `accept` takes.
template <typename Accept>
std::string find_address(Family family, Accept accept) {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw) != 0) return {};
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(raw, &::freeifaddrs);
    for (const ifaddrs* entry = raw; entry != nullptr; entry = entry->ifa_next)
        if (entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == family_number(family) &&
            accept(*entry))
            if (auto text = address_text(entry->ifa_addr); !text.empty()) return text;
    return {};
}

// The source address the kernel picks for a far destination. Connecting a UDP socket sends nothing.
std::string route_address(Family family) {
    const FileDescriptor fd(::socket(family_number(family), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) return {};
    // Documentation's addresses: RFC 3849, RFC 5737.
    auto far = to_socket_address({family == Family::v6 ? "2001:db8::1" : "192.0.2.1", 9});
    if (::connect(fd.get(), far->get(), far->length) != 0) return {};
    SocketAddress own;
    own.length = sizeof own.storage;
    if (::getsockname(fd.get(), own.get(), &own.length) != 0 ||
        own.storage.ss_family != family_number(family))
        return {};
    return address_text(own.get());
}

// The inode of the socket that listens on a TCP port, from /proc/net/tcp{,6}.
std::string listener_inode(std::uint16_t port) {
    const std::string suffix = fmt::format(":{:04X}", port);
    for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::ifstream file(path);
        std::string line;
        std::getline(file, line);
        while (std::getline(file, line)) {
            std::istringstream fields(line);
            std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
            fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
                timeout >> inode;
            if (state == "0A" && local.ends_with(suffix)) return inode;
        }
    }
    return {};
}

// 0 when the holder is not ours to see.
pid_t port_holder(std::uint16_t port) {
    const std::string inode = listener_inode(port);
    if (inode.empty() || inode == "0") return 0;
    const std::string wanted = fmt::format("socket:[{}]", inode);
    std::error_code ignored;
    for (const auto& process : std::filesystem::directory_iterator("/proc", ignored)) {
        const std::string pid = process.path().filename();
        if (!std::ranges::all_of(pid, [](char c) { return c >= '0' && c <= '9'; })) continue;
        std::error_code error;
        for (std::filesystem::directory_iterator fd(process.path() / "fd", error), end;
             !error && fd != end; fd.increment(error)) {
            std::error_code gone;
            if (std::filesystem::read_symlink(fd->path(), gone).string() != wanted) continue;
            return static_cast<pid_t>(std::strtol(pid.c_str(), nullptr, 10));
        }
    }
    return 0;
}

// Whether the port will be free in a moment: a process that was killed lets go of its memory
// before its sockets, which takes a while where gigabytes are locked.
bool is_ending(pid_t holder) {
    return holder == 0 ||
           (name_of(holder).starts_with("goldlink-") && name_of(parent_of(holder)) != "goldlink");
}

}  // namespace

std::string Endpoint::to_string() const {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                               : fmt::format("[{}]:{}", host, port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
    const auto bad = [&](std::string_view why) {
        return failure(
            ErrorKind::invalid,
            fmt::format("'{}' is no address and port: {}. Write for example 0.0.0.0:8080 or "
                        "[::]:8080",
                        text, why));
    };
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return bad("the ':' and the port are missing");
    Endpoint endpoint;
    std::string_view host = text.substr(0, colon);
    const auto port = text.substr(colon + 1);
    unsigned number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number > 65535)
        return bad("a port is a number from 0 to 65535");
    endpoint.port = static_cast<std::uint16_t>(number);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    else if (host.find(':') != std::string_view::npos)
        return bad("an IPv6 address goes in brackets");
    endpoint.host = host == "localhost" ? "127.0.0.1" : std::string(host);
    if (!to_socket_address(endpoint))
        return bad("the address is not a literal IPv4 or IPv6 address");
    return endpoint;
}

Result<std::string> interface_address(const std::string& interface, Family family) {
    if (::if_nametoindex(interface.c_str()) == 0) {
        std::string names;
        const std::unique_ptr<struct if_nameindex, decltype(&::if_freenameindex)> list(
            ::if_nameindex(), &::if_freenameindex);
        for (const auto* entry = list.get(); entry != nullptr && entry->if_index != 0; ++entry)
            names += fmt::format("{}{}", names.empty() ? "" : ", ", entry->if_name);
        return failure(
            ErrorKind::not_found,
            fmt::format("there is no network interface {}; this machine has {}", interface, names));
    }
    auto address =
        find_address(family, [&](const ifaddrs& entry) { return interface == entry.ifa_name; });
    if (address.empty())
        return failure(
            ErrorKind::not_found,
            fmt::format("network interface {} has no {} address\n  to do: give it one ('ip "
                        "address add {} dev {}') before starting",
                        interface, family == Family::v6 ? "IPv6" : "IPv4",
                        family == Family::v6 ? "fd00::1/64" : "10.0.0.1/24", interface));
    return address;
}

std::string machine_address(Family family) {
    if (auto address = route_address(family); !address.empty()) return address;
    auto address = find_address(family, [](const ifaddrs& entry) {
        return (entry.ifa_flags & IFF_UP) != 0 && (entry.ifa_flags & IFF_LOOPBACK) == 0;
    });
    if (!address.empty()) return address;
    return family == Family::v6 ? "::1" : "127.0.0.1";
}

namespace {

// Like claim_endpoint, once. `in_use`: somebody has the port.
Result<Endpoint> try_endpoint(Endpoint endpoint, bool& in_use) {
    in_use = false;
    auto address = to_socket_address(endpoint);
    if (!address)
        return failure(ErrorKind::invalid,
                       fmt::format("'{}' is no literal address", endpoint.host));
    const FileDescriptor fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return system_failure("cannot make a socket");
    // As the daemons do: connections of an earlier run in TIME_WAIT are no obstacle.
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), address->get(), address->length) != 0 || ::listen(fd.get(), 1) != 0) {
        const int error = errno;
        in_use = error == EADDRINUSE;
        if (error == EADDRNOTAVAIL)
            return failure(
                ErrorKind::invalid,
                fmt::format("{} is not an address of this machine ('ip address' shows those)",
                            endpoint.host));
        return system_failure(fmt::format("cannot listen on {}", endpoint.to_string()), error);
    }
    if (endpoint.port == 0) {
        if (::getsockname(fd.get(), address->get(), &address->length) != 0)
            return system_failure("cannot read the port of a socket");
        // sin_port and sin6_port are at the same place.
        endpoint.port = ntohs(reinterpret_cast<const sockaddr_in*>(&address->storage)->sin_port);
    }
    return endpoint;
}

}  // namespace

Result<Endpoint> claim_endpoint(const Endpoint& endpoint, std::chrono::milliseconds patience) {
    constexpr std::chrono::milliseconds kTryEvery{50};
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        bool in_use = false;
        auto claimed = try_endpoint(endpoint, in_use);
        if (!in_use) return claimed;
        const pid_t holder = port_holder(endpoint.port);
        if (is_ending(holder) && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(kTryEvery);
            continue;
        }
        const std::string name = name_of(holder);
        return failure(
            ErrorKind::conflict,
            fmt::format("port {} is in use{}\n  to do: stop that program, or choose another port",
                        endpoint.to_string(),
                        holder == 0 ? ""
                                    : fmt::format(" by {} (pid {})",
                                                  name.empty() ? "a process" : name, holder)));
    }
}

}  // namespace goldlink::up
