#include "manager/wake.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstring>
#include <memory>
#include <vector>

#include "common/file.hpp"

namespace goldlink::manager {
namespace {

constexpr std::uint16_t kDiscardPort = 9;

std::vector<std::uint8_t> magic_packet(const Mac& mac) {
    std::vector<std::uint8_t> packet(6, 0xff);
    for (int i = 0; i < 16; ++i) packet.insert(packet.end(), mac.bytes.begin(), mac.bytes.end());
    return packet;
}

sockaddr_in address(in_addr ip, std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr = ip;
    to.sin_port = htons(port);
    return to;
}

Result<std::vector<sockaddr_in>> broadcast_addresses() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return system_failure("listing the network interfaces");
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(list, &::freeifaddrs);
    std::vector<sockaddr_in> found;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        const bool usable =
            (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_BROADCAST) != 0;
        if (!usable || entry->ifa_broadaddr == nullptr || entry->ifa_addr == nullptr ||
            entry->ifa_addr->sa_family != AF_INET)
            continue;
        sockaddr_in broadcast{};
        std::memcpy(&broadcast, entry->ifa_broadaddr, sizeof broadcast);
        found.push_back(address(broadcast.sin_addr, kDiscardPort));
    }
    if (found.empty())
        return failure(ErrorKind::unavailable,
                       "this host has no IPv4 interface with a broadcast address that is up");
    return found;
}

Result<sockaddr_in> parse_destination(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    std::uint16_t port = kDiscardPort;
    bool fine = true;
    if (colon != std::string::npos) {
        const auto [end, error] =
            std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
        fine = error == std::errc() && end == text.data() + text.size() && port != 0;
    }
    in_addr ip{};
    if (!fine || ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &ip) != 1)
        return failure(ErrorKind::invalid,
                       fmt::format("\"{}\" is no IPv4 address with a port", text));
    return address(ip, port);
}

}  // namespace

Result<> send_wake_packet(const Mac& mac, const std::string& destination) {
    std::vector<sockaddr_in> addresses;
    if (destination.empty()) {
        GOLDLINK_TRY_ASSIGN(addresses, broadcast_addresses());
    } else {
        GOLDLINK_TRY_ASSIGN(const sockaddr_in one, parse_destination(destination));
        addresses.push_back(one);
    }
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return system_failure("making a UDP socket");
    const int on = 1;
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on) != 0)
        return system_failure("allowing broadcasts on a UDP socket");
    const auto packet = magic_packet(mac);
    for (const sockaddr_in& to : addresses) {
        const auto sent = ::sendto(socket.get(), packet.data(), packet.size(), 0,
                                   reinterpret_cast<const sockaddr*>(&to), sizeof to);
        if (sent < 0) {
            char text[INET_ADDRSTRLEN] = {};
            ::inet_ntop(AF_INET, &to.sin_addr, text, sizeof text);
            return system_failure(fmt::format("sending to {}", text));
        }
    }
    return {};
}

}  // namespace goldlink::manager
