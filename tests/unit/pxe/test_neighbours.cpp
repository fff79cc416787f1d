#include <catch2/catch.hpp>

#include "pxe/neighbours.hpp"
#include "pxe/solicitations.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

constexpr const char* kArp =
    "IP address       HW type     Flags       HW address            Mask     Device\n"
    "10.0.0.7         0x1         0x2         52:54:00:00:00:01     *        eth0\n"
    "10.0.0.77        0x1         0x0         00:00:00:00:00:00     *        eth0\n"
    "10.0.0.8         0x1\n";

std::vector<std::uint8_t> solicitation(std::initializer_list<std::uint8_t> options) {
    std::vector<std::uint8_t> packet{133, 0, 0, 0, 0, 0, 0, 0};
    packet.insert(packet.end(), options);
    return packet;
}

}  // namespace

TEST_CASE("the ARP table names the machine behind an address") {
    CHECK(find_neighbour(kArp, {0x0a000007})->to_string() == "52:54:00:00:00:01");
    CHECK_FALSE(find_neighbour(kArp, {0x0a00004d}));  // never answered
    CHECK_FALSE(find_neighbour(kArp, {0x0a000008}));  // a line cut short
    CHECK_FALSE(find_neighbour(kArp, {0x0a000009}));
    CHECK_FALSE(find_neighbour("", {0x0a000007}));
}

TEST_CASE("a router solicitation names its sender, a malformed one nobody") {
    const auto mac = soliciting_machine(solicitation({1, 1, 0x52, 0x54, 0, 0, 0, 1}));
    REQUIRE(mac);
    CHECK(mac->to_string() == "52:54:00:00:00:01");
    CHECK(soliciting_machine(
              solicitation({14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0x52, 0x54, 0, 0, 0, 1})) == mac);
    CHECK_FALSE(soliciting_machine(solicitation({})));
    CHECK_FALSE(soliciting_machine(solicitation({1, 0, 0x52, 0x54, 0, 0, 0, 1})));
    CHECK_FALSE(soliciting_machine(solicitation({1, 1, 0x52, 0x54, 0, 0, 0})));
    CHECK_FALSE(soliciting_machine(solicitation({1, 2, 0x52, 0x54, 0, 0, 0, 1})));
    auto other = solicitation({1, 1, 0x52, 0x54, 0, 0, 0, 1});
    other[0] = 134;
    CHECK_FALSE(soliciting_machine(other));
    CHECK_FALSE(soliciting_machine(Bytes(other).first(5)));
    CHECK_FALSE(soliciting_machine({}));
}
