#include "pxe/packet_port.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "pxe/ip_packet.hpp"

namespace goldlink::pxe {

namespace {

constexpr int kPacketsPerCall = 64;

Failure refuse(const char* what, const std::string& interface) {
    const int error = errno;
    const char* hint = error == EPERM ? " (it needs root or CAP_NET_RAW)" : "";
    return system_failure(fmt::format("cannot {} a packet socket of {}{}", what, interface, hint),
                          error);
}

// UDP to this port, whole: the packet begins with its IP header.
Result<> attach_filter(int fd, std::uint16_t port) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 4, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0)
        return system_failure("cannot filter a packet socket");
    return {};
}

}  // namespace

Result<PacketPort> PacketPort::open(const std::string& interface, std::uint16_t port) {
    // Protocol 0 until the filter stands: nothing else gets in before.
    FileDescriptor packets(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!packets) return refuse("open", interface);
    GOLDLINK_TRY(attach_filter(packets.get(), port));
    grow_receive_buffer(packets.get());
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_IP);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (address.sll_ifindex == 0 ||
        ::bind(packets.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return refuse("bind", interface);
    FileDescriptor raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW));
    if (!raw) return refuse("open a raw socket beside", interface);
    const int on = 1;
    if (::setsockopt(raw.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on) != 0 ||
        ::setsockopt(raw.get(), SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                     static_cast<socklen_t>(interface.size())) != 0)
        return refuse("bind a raw socket beside", interface);
    return PacketPort(std::move(packets), std::move(raw), port);
}

Result<std::optional<Datagram>> PacketPort::receive(MutableBytes buffer) const {
    for (int i = 0; i < kPacketsPerCall; ++i) {
        sockaddr_ll from{};
        socklen_t length = sizeof from;
        const ssize_t size = ::recvfrom(packets_.get(), buffer.data(), buffer.size(), MSG_TRUNC,
                                        reinterpret_cast<sockaddr*>(&from), &length);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::optional<Datagram>();
        if (size < 0) return system_failure("cannot receive on a packet socket");
        // What we or another program here sends, and what is for another machine.
        if (from.sll_pkttype == PACKET_OUTGOING || from.sll_pkttype == PACKET_OTHERHOST) continue;
        if (static_cast<std::size_t>(size) > buffer.size()) continue;
        const auto packet = parse_udp_packet(Bytes(buffer).first(static_cast<std::size_t>(size)));
        if (!packet || packet->destination.port != port_) continue;
        Datagram datagram;
        datagram.bytes = packet->payload.size();
        datagram.source = packet->source;
        datagram.destination = packet->destination.address;
        datagram.interface_index = static_cast<unsigned>(from.sll_ifindex);
        std::copy(packet->payload.begin(), packet->payload.end(), buffer.begin());
        return std::optional(datagram);
    }
    return std::optional<Datagram>();  // what is left is there at the next wake
}

Result<> PacketPort::send(Bytes bytes, const Endpoint& destination, Ipv4 source) const {
    const auto packet = encode_udp_packet({{source, port_}, destination, bytes});
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(destination.address.value);
    ssize_t size = 0;
    do
        size = ::sendto(raw_.get(), packet.data(), packet.size(), MSG_NOSIGNAL,
                        reinterpret_cast<const sockaddr*>(&to), sizeof to);
    while (size < 0 && errno == EINTR);
    if (size < 0) return system_failure(fmt::format("cannot send to {}", destination.to_string()));
    return {};
}

}  // namespace goldlink::pxe
