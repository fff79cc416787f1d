// IPv4 and UDP headers around a payload (RFC 791, 768), for the packet socket of ProxyDHCP. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/bytes.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

struct UdpPacket {
    Endpoint source;
    Endpoint destination;
    Bytes payload;  // into the packet parsed
};

// nullopt: it is no whole UDP packet, or a fragment. Checksums are not looked at: a packet that a
// neighbour on this machine sent has none yet, and the network card has checked the others.
std::optional<UdpPacket> parse_udp_packet(Bytes packet);

// The kernel fills in the IP header's checksum and identification.
std::vector<std::uint8_t> encode_udp_packet(const UdpPacket& packet);

}  // namespace goldlink::pxe
