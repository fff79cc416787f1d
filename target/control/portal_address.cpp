// Which address to tell clients when the portal listens on all of them.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "common/file.hpp"
#include "target/control/control_context.hpp"
#include "target/iscsi/socket_address.hpp"

namespace goldlink::control {
namespace {

using iscsi::SocketAddress;

bool is_v6_text(std::string_view address) {  // of a portal or a bare address
    return address.find(':') != address.rfind(':');
}

// "10.0.0.7" or "fd00::7", as a booting machine is known by.
std::optional<SocketAddress> parse_host(const std::string& host) {
    const auto address = SocketAddress::parse(is_v6_text(host) ? "[" + host + "]:9" : host + ":9");
    if (!address) return std::nullopt;
    return *address;
}

// The source address the kernel would use towards `client`; connecting a UDP socket sends nothing.
std::string source_towards(const SocketAddress& client) {
    const FileDescriptor fd(::socket(client.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd || ::connect(fd.get(), client.get(), client.length) != 0) return {};
    const SocketAddress own = SocketAddress::local_of(fd.get());
    return own.length == 0 ? std::string() : own.host();
}

// Of an interface that is up. Link-local IPv6 addresses need a zone that only their owner knows.
std::string first_own_address(int family) {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return {};
    std::string found;
    for (const ifaddrs* entry = list; entry != nullptr && found.empty(); entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family ||
            (entry->ifa_flags & (IFF_UP | IFF_LOOPBACK)) != IFF_UP)
            continue;
        SocketAddress address;
        address.length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        std::memcpy(&address.storage, entry->ifa_addr, address.length);
        if (const std::string host = address.host(); !host.starts_with("fe80:")) found = host;
    }
    ::freeifaddrs(list);
    return found;
}

}  // namespace

std::string portal_for(const std::vector<std::string>& portals, const std::string& advertised,
                       const std::string& client_address) {
    if (!advertised.empty()) return advertised;
    if (portals.empty()) return {};
    const std::optional<SocketAddress> client = parse_host(client_address);
    // One that the client can speak to, if there is one.
    const auto reachable = std::find_if(portals.begin(), portals.end(), [&](const auto& portal) {
        return client && is_v6_text(portal) == (client->storage.ss_family == AF_INET6);
    });
    const std::string& portal = reachable == portals.end() ? portals.front() : *reachable;
    const bool v6 = is_v6_text(portal);
    const std::size_t colon = portal.rfind(':');
    const std::string host = portal.substr(0, colon);
    const std::string port = portal.substr(colon + 1);
    if (host != "0.0.0.0" && host != "[::]") return portal;
    std::string own;
    if (client && reachable != portals.end()) own = source_towards(*client);
    if (own.empty()) own = first_own_address(v6 ? AF_INET6 : AF_INET);
    if (own.empty()) own = v6 ? "::1" : "127.0.0.1";
    return v6 ? "[" + own + "]:" + port : own + ":" + port;
}

}  // namespace goldlink::control
