#include <catch2/catch.hpp>
#include <random>

#include "pxe/ip_packet.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

const Endpoint kFrom{{0x0a4d0001}, 67};
const Endpoint kTo{{0xffffffff}, 68};

std::vector<std::uint8_t> packet_of(std::string_view payload) {
    return encode_udp_packet({kFrom, kTo, as_bytes(payload)});
}

// As a receiver checks it: over the pseudo header and the packet the sum is all ones.
std::uint32_t checked_sum(Bytes packet) {
    const Bytes udp = packet.subspan(20);
    std::uint32_t sum = 17 + static_cast<std::uint32_t>(udp.size());
    for (std::size_t at = 12; at < packet.size(); ++at)
        sum += at % 2 == 0 ? static_cast<std::uint32_t>(packet[at]) << 8 : packet[at];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

}  // namespace

TEST_CASE("a UDP packet is put together, and read again") {
    for (const std::string_view payload : {"", "a", "ab", "abc", "\xff\xff\xff\xff\xff"}) {
        const auto packet = packet_of(payload);
        const auto back = parse_udp_packet(packet);
        REQUIRE(back);
        CHECK(back->source == kFrom);
        CHECK(back->destination == kTo);
        CHECK(as_text(back->payload) == payload);
        CHECK(checked_sum(packet) == 0xffff);
    }
}

TEST_CASE(
    "what an Ethernet frame adds behind a packet, and IP options before it, are passed over") {
    auto packet = packet_of("payload");
    packet.resize(packet.size() + 18, 0xee);
    CHECK(as_text(parse_udp_packet(packet)->payload) == "payload");
    packet.insert(packet.begin() + 20, {1, 1, 1, 1});
    packet[0] = 0x46;
    packet[3] = static_cast<std::uint8_t>(packet[3] + 4);
    CHECK(as_text(parse_udp_packet(packet)->payload) == "payload");
}

TEST_CASE("what is no whole UDP packet is not read") {
    const auto whole = packet_of("payload");
    for (std::size_t size = 0; size < whole.size(); ++size)
        CHECK_FALSE(parse_udp_packet(Bytes(whole).first(size)));
    struct Row {
        const char* what;
        std::size_t at;
        std::uint8_t value;
    };
    const Row rows[] = {{"IPv6", 0, 0x65},
                        {"a header of four words", 0, 0x44},
                        {"a header past the end", 0, 0x4f},
                        {"a length past the end", 2, 1},
                        {"a length of the header alone", 3, 20},
                        {"more fragments", 6, 0x20},
                        {"a later fragment", 7, 1},
                        {"TCP", 9, 6},
                        {"a UDP length past the end", 25, 200},
                        {"a UDP length of 7", 25, 7}};
    for (const Row& row : rows) {
        INFO(row.what);
        auto packet = whole;
        packet[row.at] = row.value;
        CHECK_FALSE(parse_udp_packet(packet));
    }
    std::mt19937 random(20261201);
    for (int i = 0; i < 20000; ++i) {  // and nothing of it is read past its end
        auto packet = whole;
        packet.resize(random() % (whole.size() + 1));
        for (int j = 0; j < 4 && !packet.empty(); ++j)
            packet[random() % packet.size()] = static_cast<std::uint8_t>(random());
        const auto found = parse_udp_packet(packet);
        if (found) CHECK(found->payload.size() + 28 <= packet.size());
    }
}
