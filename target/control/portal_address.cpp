// Which address to tell clients when the portal listens on all of them.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "common/file.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

// The source address the kernel would use towards `client`; connecting a UDP socket sends nothing.
std::string source_towards(const std::string& client) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    if (::inet_pton(AF_INET, client.c_str(), &to.sin_addr) != 1) return {};
    FileDescriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        return {};
    sockaddr_in from{};
    socklen_t length = sizeof from;
    char text[INET_ADDRSTRLEN] = "";
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&from), &length) != 0) return {};
    return ::inet_ntop(AF_INET, &from.sin_addr, text, sizeof text) == nullptr ? std::string()
                                                                              : std::string(text);
}

std::string first_own_address() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return {};
    std::string found;
    for (const ifaddrs* entry = list; entry != nullptr && found.empty(); entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET ||
            (entry->ifa_flags & (IFF_UP | IFF_LOOPBACK)) != IFF_UP)
            continue;
        sockaddr_in address{};
        std::memcpy(&address, entry->ifa_addr, sizeof address);
        char text[INET_ADDRSTRLEN] = "";
        if (::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text) != nullptr) found = text;
    }
    ::freeifaddrs(list);
    return found;
}

}  // namespace

std::string portal_for(const std::vector<std::string>& portals, const std::string& advertised,
                       const std::string& client_address) {
    if (!advertised.empty()) return advertised;
    if (portals.empty()) return {};
    const std::string& portal = portals.front();
    const std::size_t colon = portal.rfind(':');
    const std::string host = portal.substr(0, colon);
    const std::string port = portal.substr(colon + 1);
    if (host != "0.0.0.0" && host != "[::]") return portal;
    std::string own = client_address.empty() ? std::string() : source_towards(client_address);
    if (own.empty()) own = first_own_address();
    if (own.empty()) own = "127.0.0.1";
    return own + ":" + port;
}

}  // namespace goldlink::control
