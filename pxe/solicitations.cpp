#include "pxe/solicitations.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace goldlink::pxe {

namespace {

constexpr std::uint8_t kRouterSolicitation = 133;
constexpr std::uint8_t kRouterAdvertisement = 134;
constexpr std::uint8_t kSourceLinkLayerAddress = 1;
constexpr int kHopLimit = 255;  // RFC 4861 section 6.1: anything less came through a router
constexpr int kPacketsPerWake = 64;

Result<> set_option(int fd, int level, int name, const void* value, socklen_t size) {
    if (::setsockopt(fd, level, name, value, size) != 0)
        return system_failure("cannot set up an ICMPv6 socket");
    return {};
}

// The hop limit the packet came with, or -1.
int hop_limit(msghdr& message) {
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != IPPROTO_IPV6 || header->cmsg_type != IPV6_HOPLIMIT) continue;
        int value = 0;
        std::memcpy(&value, CMSG_DATA(header), sizeof value);
        return value;
    }
    return -1;
}

}  // namespace

std::optional<Mac> soliciting_machine(Bytes icmpv6) {
    ByteReader reader(icmpv6);
    const std::uint8_t type = reader.u8();
    const std::uint8_t code = reader.u8();
    reader.skip(6);  // checksum, which the kernel has checked, and reserved
    if (!reader.ok() || type != kRouterSolicitation || code != 0) return std::nullopt;
    while (!reader.empty()) {
        const std::uint8_t option = reader.u8();
        const std::size_t units = reader.u8();  // of eight bytes
        const Bytes data = reader.bytes(units * 8 - std::min<std::size_t>(units * 8, 2));
        if (!reader.ok() || units == 0) return std::nullopt;
        if (option != kSourceLinkLayerAddress || units != 1) continue;
        Mac mac;
        std::copy(data.begin(), data.end(), mac.bytes.begin());
        return mac;
    }
    return std::nullopt;
}

Result<FileDescriptor> open_solicitations(const std::string& interface) {
    FileDescriptor fd(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6));
    if (!fd) return system_failure("cannot open an ICMPv6 socket");
    const auto set = [&fd](int level, int name, const auto& value) {
        return set_option(fd.get(), level, name, &value, sizeof value);
    };
    icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(kRouterSolicitation, &filter);
    GOLDLINK_TRY(set(IPPROTO_ICMPV6, ICMP6_FILTER, filter));
    GOLDLINK_TRY(set_option(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                            static_cast<socklen_t>(interface.size())));
    GOLDLINK_TRY(set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, kHopLimit));
    GOLDLINK_TRY(set(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, kHopLimit));
    GOLDLINK_TRY(set(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
    ipv6_mreq all_routers{};
    all_routers.ipv6mr_multiaddr.s6_addr[0] = 0xff;  // ff02::2
    all_routers.ipv6mr_multiaddr.s6_addr[1] = 0x02;
    all_routers.ipv6mr_multiaddr.s6_addr[15] = 2;
    all_routers.ipv6mr_interface = ::if_nametoindex(interface.c_str());
    GOLDLINK_TRY(set(IPPROTO_IPV6, IPV6_JOIN_GROUP, all_routers));
    return fd;
}

void answer_solicitations(int fd, const std::function<bool(const Mac&)>& is_booting) {
    std::array<std::uint8_t, 1500> buffer;
    for (int i = 0; i < kPacketsPerWake; ++i) {
        sockaddr_in6 from{};
        iovec part{buffer.data(), buffer.size()};
        alignas(cmsghdr) char control[64];
        msghdr message{};
        message.msg_name = &from;
        message.msg_namelen = sizeof from;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t size = ::recvmsg(fd, &message, 0);
        if (size < 0) return;
        if (hop_limit(message) != kHopLimit || !IN6_IS_ADDR_LINKLOCAL(&from.sin6_addr)) continue;
        const auto mac = soliciting_machine(Bytes(buffer).first(static_cast<std::size_t>(size)));
        if (!mac || !is_booting(*mac)) continue;
        // Hop limit, flags, lifetime and timers are all 0: "unspecified", and no router.
        std::array<std::uint8_t, 16> advertisement{kRouterAdvertisement};
        // Lost, it is only asked for again.
        [[maybe_unused]] const ssize_t sent =
            ::sendto(fd, advertisement.data(), advertisement.size(), MSG_NOSIGNAL,
                     reinterpret_cast<const sockaddr*>(&from), sizeof from);
    }
}

}  // namespace goldlink::pxe
