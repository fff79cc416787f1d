#include <catch2/catch.hpp>

#include "pxe/arp.hpp"
#include "pxe/lease_problems.hpp"
#include "pxe/offer_probes.hpp"
#include "requests.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
using namespace std::chrono_literals;

namespace {

const OfferProbes::Time kStart = OfferProbes::Time{} + 1h;
const Ipv4 kAddress{0x0a000064};

Mac machine(std::uint8_t number) {
    Mac mac = test::client_mac();
    mac.bytes[4] = 7;
    mac.bytes[5] = number;
    return mac;
}

HeldOffer offer(Ipv4 address, std::uint32_t xid = 1) {
    HeldOffer held;
    held.request = test::discover();
    held.request.xid = xid;
    held.answer.address = address;
    return held;
}

}  // namespace

TEST_CASE("an address is asked for twice, and offered when nobody answers") {
    OfferProbes probes;
    CHECK(probes.hold(machine(1), true, offer(kAddress), kStart));
    CHECK(probes.to_ask(kStart) == std::vector<Ipv4>{kAddress});
    CHECK(probes.to_ask(kStart).empty());
    CHECK(probes.next() == kStart + kProbeWait);
    CHECK(probes.to_ask(kStart + kProbeWait) == std::vector<Ipv4>{kAddress});
    CHECK(probes.take_free(kStart + kProbeWait).empty());
    CHECK(probes.next() == kStart + 2 * kProbeWait);
    CHECK(probes.to_ask(kStart + 2 * kProbeWait).empty());
    const auto free = probes.take_free(kStart + 2 * kProbeWait);
    REQUIRE(free.size() == 1);
    CHECK(free[0].answer.address == kAddress);
    CHECK(probes.empty());
}

TEST_CASE("a repeated request is the one that is answered, and does not begin again") {
    OfferProbes probes;
    probes.hold(machine(1), true, offer(kAddress, 1), kStart);
    probes.to_ask(kStart);
    probes.hold(machine(1), true, offer(kAddress, 2), kStart + 100ms);
    CHECK(probes.to_ask(kStart + 100ms).empty());
    probes.to_ask(kStart + kProbeWait);
    const auto free = probes.take_free(kStart + 2 * kProbeWait);
    REQUIRE(free.size() == 1);
    CHECK(free[0].request.xid == 2);
}

TEST_CASE("somebody else at the address ends the offer, the machine itself does not") {
    OfferProbes probes;
    probes.hold(machine(1), true, offer(kAddress), kStart);
    CHECK_FALSE(probes.heard(machine(1), kAddress));
    CHECK_FALSE(probes.heard(machine(2), {0x0a000065}));
    const auto ended = probes.heard(machine(2), kAddress);
    REQUIRE(ended);
    CHECK(ended->answer.address == kAddress);
    CHECK(probes.empty());
    CHECK_FALSE(probes.heard(machine(2), kAddress));
}

TEST_CASE("an address that went to another machine is asked for anew") {
    OfferProbes probes;
    probes.hold(machine(1), false, offer(kAddress), kStart);
    probes.to_ask(kStart);
    probes.hold(machine(2), true, offer(kAddress), kStart + 10ms);
    CHECK(probes.to_ask(kStart + 10ms).size() == 1);
    CHECK(probes.heard(machine(1), kAddress));  // who is now somebody else
}

TEST_CASE("waiting offers are bounded, and half of the places are for machines of the table") {
    OfferProbes probes;
    std::size_t held = 0;
    for (std::uint32_t i = 0; i < 400; ++i)
        if (probes.hold(machine(1), false, offer({0x0a010000 + i}), kStart)) ++held;
    CHECK(held == kMaxProbed / 2);
    for (std::uint32_t i = 0; i < 400; ++i)
        if (probes.hold(machine(2), true, offer({0x0a020000 + i}), kStart)) ++held;
    CHECK(held == kMaxProbed);
}

TEST_CASE("ARP says who has an address") {
    const ArpSender us{machine(9), {0x0a000001}};
    auto packet = encode_arp_request(us, kAddress);
    CHECK(packet == std::vector<std::uint8_t>{0,  1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0,  0, 7, 9,
                                              10, 0, 0, 1, 0, 0, 0, 0, 0,    0,    10, 0, 0, 100});
    CHECK(parse_arp(packet) == us);
    packet[7] = 2;  // a reply
    CHECK(parse_arp(packet) == us);
    packet.resize(46, 0);  // as Ethernet pads it
    CHECK(parse_arp(packet) == us);
    for (std::size_t size = 0; size < 28; ++size) CHECK_FALSE(parse_arp(Bytes(packet).first(size)));
    for (const std::size_t at : {0U, 2U, 4U, 5U, 7U}) {  // other hardware, protocol, lengths, kind
        auto other = packet;
        other[at] = 99;
        CHECK_FALSE(parse_arp(other));
    }
    auto probe = packet;  // of a machine that has no address yet
    std::fill_n(probe.begin() + 14, 4, std::uint8_t{0});
    CHECK_FALSE(parse_arp(probe));
}

TEST_CASE("what is wrong with addresses is told for ten minutes") {
    LeaseProblems problems;
    CHECK(problems.list(kStart).empty());
    AddressAnswer answer;
    answer.why = "none is free";
    answer.to_do = "widen the range";
    problems.unavailable(machine(1), answer, kStart);
    for (std::uint32_t i = 0; i < 7; ++i)
        problems.in_use({0x0a000064 + i}, machine(2), kStart + 5min);
    const auto told = problems.list(kStart + 9min);
    REQUIRE(told.size() == 2);
    CHECK(told[0].message == "52:54:00:00:07:01 asked for an address and got none: none is free");
    CHECK(told[0].advice == "widen the range");
    CHECK(told[1].message.find("10.0.0.104 (by 52:54:00:00:07:02) and 2 more") !=
          std::string::npos);
    CHECK(problems.list(kStart + 10min).size() == 1);
    CHECK(problems.list(kStart + 15min).empty());
}
