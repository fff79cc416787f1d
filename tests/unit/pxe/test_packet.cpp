#include <catch2/catch.hpp>
#include <numeric>

#include "requests.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

std::vector<std::uint8_t> encoded(const Packet& packet) {
    auto bytes = encode_packet(packet);
    REQUIRE(bytes);
    return *bytes;
}

// A packet with these raw bytes as its options.
std::vector<std::uint8_t> with_options(std::initializer_list<std::uint8_t> options) {
    Packet packet = test::discover();
    packet.type = MessageType::none;
    auto bytes = encoded(packet);
    bytes.resize(240);
    bytes.insert(bytes.end(), options);
    return bytes;
}

}  // namespace

TEST_CASE("a packet survives the way to the wire and back") {
    Packet packet = test::ipxe(7);
    packet.op = 2;
    packet.hops = 3;
    packet.secs = 9;
    packet.ciaddr = {0x0a000001};
    packet.yiaddr = {0x0a000002};
    packet.siaddr = {0x0a000003};
    packet.giaddr = {0x0a000004};
    packet.sname = "server";
    packet.file = std::string(kMaxFileName, 'f');
    const auto bytes = encoded(packet);
    CHECK(bytes.size() >= 300);
    const auto back = parse_packet(bytes);
    REQUIRE(back);
    CHECK(*back == packet);
}

TEST_CASE("an option longer than 255 bytes is split and joined again (RFC 3396)") {
    Packet packet = test::discover();
    std::vector<std::uint8_t> longer(600);
    std::iota(longer.begin(), longer.end(), std::uint8_t{0});
    packet.options.append(option::kVendorSpecific, longer);
    const auto back = parse_packet(encoded(packet));
    REQUIRE(back);
    CHECK(*back->options.find(option::kVendorSpecific) == longer);
}

TEST_CASE("option 52 makes file and sname part of the options") {
    auto bytes = with_options({53, 1, 1, 52, 1, 3, 255});
    const auto put = [&](std::size_t at, std::initializer_list<std::uint8_t> option) {
        std::copy(option.begin(), option.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    };
    put(108, {60, 4, 'P', 'X', 'E', 'C', 77, 2, 'i', 'P', 255});  // file
    put(44, {77, 2, 'X', 'E', 255});                              // sname, after file
    const auto packet = parse_packet(bytes);
    REQUIRE(packet);
    CHECK(packet->options.text(option::kVendorClass) == "PXEC");
    CHECK(packet->options.text(option::kUserClass) == "iPXE");
    CHECK(packet->file.empty());
    CHECK(packet->sname.empty());
    CHECK_FALSE(packet->options.has(option::kOverload));
}

TEST_CASE("malformed packets are refused and say why") {
    CHECK_FALSE(parse_packet({}));
    const auto whole = encoded(test::firmware(0));
    for (std::size_t size = 0; size < 240; ++size)
        CHECK_FALSE(parse_packet(Bytes(whole).first(size)));

    auto no_cookie = whole;
    no_cookie[236] = 0;
    CHECK(parse_packet(no_cookie).error().message.find("cookie") != std::string::npos);
    auto bad_op = whole;
    bad_op[0] = 7;
    CHECK_FALSE(parse_packet(bad_op));
    auto long_address = whole;
    long_address[2] = 17;
    CHECK_FALSE(parse_packet(long_address));

    CHECK_FALSE(parse_packet(with_options({53, 1, 9, 255})));  // no such type
    CHECK_FALSE(parse_packet(with_options({53, 2, 1, 1, 255})));
    CHECK_FALSE(parse_packet(with_options({53, 0, 255})));
    CHECK_FALSE(parse_packet(with_options({52, 1, 4, 255})));  // overload of nothing
    CHECK_FALSE(parse_packet(with_options({52, 1, 0, 255})));

    CHECK(parse_packet(with_options({52, 1, 1, 255})));  // a field full of zeros is only padding
}

TEST_CASE("an option that runs past the end is left out, and those before it count") {
    for (const auto& cut : {with_options({53, 1, 1, 60, 3, 'P', 'X', 'E', 12, 10, 'a'}),
                            with_options({53, 1, 1, 60, 3, 'P', 'X', 'E', 12})}) {
        const auto packet = parse_packet(cut);
        REQUIRE(packet);
        CHECK(packet->type == MessageType::discover);
        CHECK(packet->options.text(option::kVendorClass) == "PXE");
        CHECK_FALSE(packet->options.has(12));
    }
    auto overrun = with_options({53, 1, 1, 52, 1, 2, 60, 1, 'P', 255});
    overrun[44] = 77;  // in sname, and longer than it
    overrun[45] = 63;
    const auto packet = parse_packet(overrun);
    REQUIRE(packet);
    CHECK(packet->options.text(option::kVendorClass) == "P");
    CHECK_FALSE(packet->options.has(option::kUserClass));
}

TEST_CASE("an option of fixed length that is repeated with the same data is one option") {
    const auto packet = parse_packet(
        with_options({53, 1, 3, 54, 4, 10, 0, 0, 1, 53, 1, 3, 54, 4, 10, 0, 0, 1, 255}));
    REQUIRE(packet);
    CHECK(packet->type == MessageType::request);
    CHECK(packet->options.address(option::kServerIdentifier).to_string() == "10.0.0.1");
    CHECK_FALSE(parse_packet(with_options({53, 1, 1, 53, 1, 3, 255})));
    CHECK_FALSE(parse_packet(with_options({50, 4, 10, 0, 0, 1, 50, 4, 10, 0, 0, 2, 255})));
    // Encapsulated options have numbers of their own.
    const std::uint8_t inner[] = {53, 1, 1, 53, 1, 3};
    REQUIRE(parse_options(inner));
    CHECK(parse_options(inner)->find(53)->size() == 2);
}

TEST_CASE("padding between options and a missing end mark are accepted") {
    const auto packet = parse_packet(with_options({0, 0, 53, 1, 1, 0, 54, 4, 10, 0, 0, 1}));
    REQUIRE(packet);
    CHECK(packet->type == MessageType::discover);
    CHECK(packet->options.address(option::kServerIdentifier).to_string() == "10.0.0.1");
}

TEST_CASE("what follows the end mark is not read") {
    const auto packet = parse_packet(with_options({255, 53, 1}));
    REQUIRE(packet);
    CHECK(packet->type == MessageType::none);
}

TEST_CASE("encoding refuses what DHCP cannot carry") {
    Packet packet = test::discover();
    packet.file = std::string(kMaxFileName + 1, 'f');
    CHECK_FALSE(encode_packet(packet));
    packet.file.clear();
    packet.options.append(43, std::vector<std::uint8_t>(kMaxPacketBytes));
    CHECK_FALSE(encode_packet(packet));
}

TEST_CASE("the client's address must be one machine's Ethernet address") {
    Packet packet = test::discover();
    CHECK(packet.mac()->to_string() == "52:54:00:00:00:01");
    packet.chaddr[0] = 0x53;  // multicast
    CHECK_FALSE(packet.mac());
    packet = test::discover();
    packet.htype = 6;  // IEEE 802: the same addresses
    CHECK(packet.mac()->to_string() == "52:54:00:00:00:01");
    packet.htype = 32;  // InfiniBand
    CHECK_FALSE(packet.mac());
    packet = test::discover();
    packet.chaddr.fill(0);
    CHECK_FALSE(packet.mac());
}

TEST_CASE("IPv4 addresses are dotted quads and nothing else") {
    CHECK(Ipv4::parse("10.0.0.1")->value == 0x0a000001);
    CHECK(Ipv4::parse("255.255.255.255")->value == 0xffffffff);
    CHECK(Ipv4::parse("0.0.0.0")->empty());
    for (const char* bad :
         {"", "10", "10.0.0", "10.0.0.1.2", "10.0.0.256", "10.0.0.01", " 10.0.0.1", "10.0.0.1 ",
          "10.0.0.-1", "1e.0.0.1", "10..0.1", "::1", "0010.0.0.1"})
        CHECK_FALSE(Ipv4::parse(bad));
    CHECK(same_subnet({0x0a000001}, {0x0a0000fe}, {0xffffff00}));
    CHECK_FALSE(same_subnet({0x0a000001}, {0x0a000101}, {0xffffff00}));
    CHECK_FALSE(same_subnet({0x0a000001}, {0x0a000001}, {0}));
}
