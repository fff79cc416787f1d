// Any bytes as what packet sockets receive: IPv4 packets and ARP. What is read lies in the packet,
// and what was read is the same after it was put together again.
#include "common/check.hpp"
#include "pxe/arp.hpp"
#include "pxe/ip_packet.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(data, size);
    if (const auto packet = parse_udp_packet(bytes)) {
        CHECK(packet->payload.size() + 28 <= size, "the payload lies in the packet");
        const auto made = encode_udp_packet(*packet);
        const auto back = parse_udp_packet(made);
        CHECK(back && back->source == packet->source && back->destination == packet->destination &&
                  as_text(back->payload) == as_text(packet->payload),
              "a packet survives encoding and parsing");
    }
    if (const auto sender = parse_arp(bytes))
        CHECK(parse_arp(encode_arp_request(*sender, {1})) == sender,
              "a sender survives encoding and parsing");
    return 0;
}
