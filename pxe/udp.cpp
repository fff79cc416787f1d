#include "pxe/udp.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace goldlink::pxe {

namespace {

constexpr int kReceiveBytes = 1 << 20;

sockaddr_in to_sockaddr(const Endpoint& endpoint) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    address.sin_addr.s_addr = htonl(endpoint.address.value);
    return address;
}

Ipv4 to_ipv4(const sockaddr* address) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    return {ntohl(in.sin_addr.s_addr)};
}

Result<> set_option(int fd, int level, int name, const char* text) {
    const int on = 1;
    if (::setsockopt(fd, level, name, &on, sizeof on) != 0)
        return system_failure(fmt::format("cannot set {} on a UDP socket", text));
    return {};
}

std::string why_not_bound(const Endpoint& local, const std::string& device, int error) {
    std::string text = fmt::format("cannot listen on UDP {}", local.to_string());
    if (!device.empty()) text += fmt::format(" of {}", device);
    if (error == EADDRINUSE && local.port == 67)
        text +=
            " (another DHCP server runs on this host, `ss -ulpn` names it; stop it, or start with "
            "--mode proxy, which stands beside it)";
    else if (error == EADDRINUSE)
        text += " (another DHCP or TFTP server runs on this host; `ss -ulpn` names it)";
    else if (error == EACCES || error == EPERM)
        text += " (ports below 1024 need root or CAP_NET_BIND_SERVICE, the interface CAP_NET_RAW)";
    return text;
}

Result<FileDescriptor> open_socket() {
    FileDescriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return system_failure("cannot open a UDP socket");
    return fd;
}

}  // namespace

Result<std::vector<Interface>> list_interfaces() {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw) != 0) return system_failure("cannot list the network interfaces");
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(raw, &::freeifaddrs);
    std::vector<Interface> found;
    for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr ||
            entry->ifa_addr->sa_family != AF_INET || (entry->ifa_flags & IFF_UP) == 0)
            continue;
        found.push_back({entry->ifa_name, ::if_nametoindex(entry->ifa_name),
                         to_ipv4(entry->ifa_addr), to_ipv4(entry->ifa_netmask)});
    }
    return found;
}

Result<Interface> find_interface(const std::string& name) {
    GOLDLINK_TRY_ASSIGN(const auto all, list_interfaces());
    for (const Interface& one : all)
        if (one.name == name) return one;
    if (::if_nametoindex(name.c_str()) == 0)
        return failure(
            ErrorKind::not_found,
            fmt::format("there is no network interface {}; `ip -br address` lists them", name));
    return failure(ErrorKind::not_found,
                   fmt::format("interface {} is down or has no IPv4 address; give it one, or name "
                               "another with --interface",
                               name));
}

std::optional<Interface> interface_with(Ipv4 address) {
    const auto all = list_interfaces();
    if (!all) return std::nullopt;
    const auto at = std::find_if(all->begin(), all->end(),
                                 [&](const Interface& one) { return one.address == address; });
    return at == all->end() ? std::nullopt : std::optional(*at);
}

void grow_receive_buffer(int fd) {
    for (const int name : {SO_RCVBUFFORCE, SO_RCVBUF})
        if (::setsockopt(fd, SOL_SOCKET, name, &kReceiveBytes, sizeof kReceiveBytes) == 0) return;
}

Result<FileDescriptor> open_udp(const Endpoint& local, const std::string& device, bool broadcast) {
    GOLDLINK_TRY_ASSIGN(FileDescriptor fd, open_socket());
    GOLDLINK_TRY(set_option(fd.get(), IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"));
    grow_receive_buffer(fd.get());
    if (broadcast) GOLDLINK_TRY(set_option(fd.get(), SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"));
    if (!device.empty() && ::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                                        static_cast<socklen_t>(device.size())) != 0)
        return system_failure(why_not_bound(local, device, errno));
    const sockaddr_in address = to_sockaddr(local);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int error = errno;
        return system_failure(why_not_bound(local, device, error), error);
    }
    return fd;
}

Result<FileDescriptor> open_udp_to(Ipv4 local, const Endpoint& peer) {
    GOLDLINK_TRY_ASSIGN(FileDescriptor fd, open_socket());
    const sockaddr_in from = to_sockaddr({local, 0});
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0)
        return system_failure(fmt::format("cannot bind a UDP socket to {}", local.to_string()));
    const sockaddr_in to = to_sockaddr(peer);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
        return system_failure(fmt::format("cannot reach {}", peer.to_string()));
    return fd;
}

Result<std::optional<Datagram>> receive_from(int fd, MutableBytes buffer) {
    sockaddr_in from{};
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) char control[128];
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t size = 0;
    do size = ::recvmsg(fd, &message, 0);
    while (size < 0 && errno == EINTR);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::optional<Datagram>();
    if (size < 0) return system_failure("cannot receive on a UDP socket");
    Datagram datagram;
    if ((message.msg_flags & MSG_TRUNC) == 0) datagram.bytes = static_cast<std::size_t>(size);
    datagram.source = {{ntohl(from.sin_addr.s_addr)}, ntohs(from.sin_port)};
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO) continue;
        in_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(header), sizeof info);
        datagram.local.value = ntohl(info.ipi_spec_dst.s_addr);
        datagram.destination.value = ntohl(info.ipi_addr.s_addr);
        datagram.interface_index = static_cast<unsigned>(info.ipi_ifindex);
    }
    return std::optional(datagram);
}

Result<> send_to(int fd, Bytes bytes, const Endpoint& destination, Ipv4 source) {
    sockaddr_in to = to_sockaddr(destination);
    iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))] = {};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    in_pktinfo info{};
    info.ipi_spec_dst.s_addr = htonl(source.value);
    std::memcpy(CMSG_DATA(header), &info, sizeof info);
    ssize_t size = 0;
    do size = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    while (size < 0 && errno == EINTR);
    if (size < 0) return system_failure(fmt::format("cannot send to {}", destination.to_string()));
    return {};
}

}  // namespace goldlink::pxe
