#include "pxe/arp.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace goldlink::pxe {

namespace {

constexpr std::size_t kPacketBytes = 28;
constexpr int kPacketsPerCall = 64;

sockaddr_ll link_address(unsigned index) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ARP);
    address.sll_ifindex = static_cast<int>(index);
    return address;
}

}  // namespace

std::vector<std::uint8_t> encode_arp_request(const ArpSender& us, Ipv4 address) {
    std::vector<std::uint8_t> out(kPacketBytes, 0);
    store_be16(out.data(), ARPHRD_ETHER);
    store_be16(out.data() + 2, ETHERTYPE_IP);
    out[4] = 6;
    out[5] = 4;
    store_be16(out.data() + 6, ARPOP_REQUEST);
    std::copy(us.mac.bytes.begin(), us.mac.bytes.end(), out.begin() + 8);
    store_be32(out.data() + 14, us.address.value);
    store_be32(out.data() + 24, address.value);
    return out;
}

std::optional<ArpSender> parse_arp(Bytes packet) {
    ByteReader reader(packet);
    const std::uint16_t hardware = reader.be16();
    const std::uint16_t protocol = reader.be16();
    const std::uint8_t hardware_bytes = reader.u8();
    const std::uint8_t protocol_bytes = reader.u8();
    const std::uint16_t operation = reader.be16();
    ArpSender sender;
    const Bytes mac = reader.bytes(sender.mac.bytes.size());
    sender.address.value = reader.be32();
    if (!reader.ok() || packet.size() < kPacketBytes || hardware != ARPHRD_ETHER ||
        protocol != ETHERTYPE_IP || hardware_bytes != 6 || protocol_bytes != 4 ||
        (operation != ARPOP_REQUEST && operation != ARPOP_REPLY) || sender.address.empty())
        return std::nullopt;
    std::copy(mac.begin(), mac.end(), sender.mac.bytes.begin());
    return sender;
}

Result<ArpSocket> ArpSocket::open(const std::string& interface) {
    const auto refuse = [&](const char* what) {
        return system_failure(fmt::format("cannot {} an ARP socket of {}", what, interface));
    };
    FileDescriptor fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return refuse("open");
    const unsigned index = ::if_nametoindex(interface.c_str());
    sockaddr_ll address = link_address(index);
    if (index == 0 ||
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return refuse("bind");
    socklen_t length = sizeof address;
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
        return refuse("read the address of");
    if (address.sll_hatype != ARPHRD_ETHER || address.sll_halen != 6)
        return failure(ErrorKind::invalid,
                       fmt::format("{} has no Ethernet address, so ARP finds nobody", interface));
    Mac mac;
    std::copy_n(address.sll_addr, mac.bytes.size(), mac.bytes.begin());
    return ArpSocket(std::move(fd), index, mac);
}

Result<> ArpSocket::ask(Ipv4 us, Ipv4 address) const {
    const auto packet = encode_arp_request({mac_, us}, address);
    sockaddr_ll to = link_address(index_);
    to.sll_halen = 6;
    std::memset(to.sll_addr, 0xff, 6);
    if (::sendto(fd_.get(), packet.data(), packet.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
        return system_failure(fmt::format("cannot ask by ARP who has {}", address.to_string()));
    return {};
}

std::optional<ArpSender> ArpSocket::receive() const {
    std::array<std::uint8_t, 256> buffer;
    for (int i = 0; i < kPacketsPerCall; ++i) {
        sockaddr_ll from{};
        socklen_t length = sizeof from;
        const ssize_t size = ::recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                        reinterpret_cast<sockaddr*>(&from), &length);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return std::nullopt;
        if (from.sll_pkttype == PACKET_OUTGOING) continue;  // our own
        if (auto sender = parse_arp(Bytes(buffer).first(static_cast<std::size_t>(size))))
            return sender;
    }
    return std::nullopt;  // what is left is there at the next wake
}

}  // namespace goldlink::pxe
