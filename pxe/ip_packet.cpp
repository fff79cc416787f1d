#include "pxe/ip_packet.hpp"

#include <algorithm>

#include "common/check.hpp"

namespace goldlink::pxe {

namespace {

constexpr std::size_t kIpBytes = 20;
constexpr std::size_t kUdpBytes = 8;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kTimeToLive = 64;
constexpr std::uint16_t kFragment = 0x3fff;  // "more fragments", and an offset

// RFC 1071, not folded.
std::uint32_t sum_of(Bytes bytes) {
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < bytes.size(); ++at)
        sum += static_cast<std::uint32_t>(bytes[at]) << (at % 2 == 0 ? 8 : 0);
    return sum;
}

}  // namespace

std::optional<UdpPacket> parse_udp_packet(Bytes packet) {
    if (packet.size() < kIpBytes || packet[0] >> 4 != 4) return std::nullopt;
    const std::size_t header_bytes = (packet[0] & 15) * std::size_t{4};
    const std::size_t total_bytes = load_be16(packet.data() + 2);
    if (header_bytes < kIpBytes || total_bytes < header_bytes + kUdpBytes ||
        total_bytes > packet.size() || (load_be16(packet.data() + 6) & kFragment) != 0 ||
        packet[9] != kUdp)
        return std::nullopt;
    const Bytes udp = packet.first(total_bytes).subspan(header_bytes);
    const std::size_t udp_bytes = load_be16(udp.data() + 4);
    if (udp_bytes < kUdpBytes || udp_bytes > udp.size()) return std::nullopt;
    UdpPacket found;
    found.source = {{load_be32(packet.data() + 12)}, load_be16(udp.data())};
    found.destination = {{load_be32(packet.data() + 16)}, load_be16(udp.data() + 2)};
    found.payload = udp.first(udp_bytes).subspan(kUdpBytes);
    return found;
}

std::vector<std::uint8_t> encode_udp_packet(const UdpPacket& packet) {
    const std::size_t udp_bytes = kUdpBytes + packet.payload.size();
    CHECK(kIpBytes + udp_bytes <= 0xffff, "a payload that fits a frame");
    std::vector<std::uint8_t> out(kIpBytes + udp_bytes, 0);
    out[0] = 0x45;  // version 4, a header of five words
    store_be16(out.data() + 2, static_cast<std::uint16_t>(out.size()));
    out[8] = kTimeToLive;
    out[9] = kUdp;
    store_be32(out.data() + 12, packet.source.address.value);
    store_be32(out.data() + 16, packet.destination.address.value);
    std::uint8_t* const udp = out.data() + kIpBytes;
    store_be16(udp, packet.source.port);
    store_be16(udp + 2, packet.destination.port);
    store_be16(udp + 4, static_cast<std::uint16_t>(udp_bytes));
    std::copy(packet.payload.begin(), packet.payload.end(), udp + kUdpBytes);
    // Over the addresses, the protocol, the length and the UDP packet (RFC 768); 0 says "none".
    std::uint32_t sum =
        sum_of(Bytes(out).subspan(12)) + kUdp + static_cast<std::uint32_t>(udp_bytes);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    const auto checksum = static_cast<std::uint16_t>(~sum);
    store_be16(udp + 6, checksum == 0 ? std::uint16_t{0xffff} : checksum);
    return out;
}

}  // namespace goldlink::pxe
