#include <catch2/catch.hpp>

#include "pxe/leases.hpp"
#include "requests.hpp"

using namespace goldlink;
using namespace goldlink::pxe;
using Kind = AddressAnswer::Kind;

namespace {

const Ipv4 kServer{0x0a000001};

Ipv4 at(std::uint32_t host) { return {0x0a000000 + host}; }

LeasePool pool(std::uint32_t first = 100, std::uint32_t last = 102) {
    PoolOptions options;
    options.first = at(first);
    options.last = at(last);
    options.server = kServer;
    options.netmask = {0xffffff00};
    options.lease_seconds = 1000;
    return LeasePool::make(options).value();
}

Packet from(int machine, MessageType type) {
    Packet packet = test::discover();
    packet.chaddr[5] = static_cast<std::uint8_t>(machine);
    packet.type = type;
    return packet;
}

Packet request(int machine, Ipv4 wanted, Ipv4 server = kServer) {
    Packet packet = from(machine, MessageType::request);
    packet.options.add_u32(option::kRequestedAddress, wanted.value);
    if (!server.empty()) packet.options.add_u32(option::kServerIdentifier, server.value);
    return packet;
}

Ipv4 take(LeasePool& leases, int machine, std::int64_t now) {
    const auto offer = leases.answer(from(machine, MessageType::discover), now);
    REQUIRE(offer.kind == Kind::offer);
    const auto ack = leases.answer(request(machine, offer.address), now);
    REQUIRE(ack.kind == Kind::ack);
    REQUIRE(ack.address == offer.address);
    return ack.address;
}

}  // namespace

TEST_CASE("a machine is offered an address, gets it, and gets it again") {
    LeasePool leases = pool();
    CHECK(take(leases, 1, 0) == at(100));
    CHECK(leases.take_changed());
    CHECK(take(leases, 2, 0) == at(101));
    CHECK(take(leases, 1, 500) == at(100));
    CHECK(take(leases, 1, 5000) == at(100));  // expired long ago, but still nobody else's
    CHECK(leases.leases().size() == 2);
}

TEST_CASE("an offer alone is no lease, and lapses") {
    LeasePool leases = pool(100, 100);
    CHECK(leases.answer(from(1, MessageType::discover), 0).address == at(100));
    CHECK_FALSE(leases.take_changed());
    CHECK(leases.leases().empty());
    CHECK(leases.answer(from(2, MessageType::discover), 30).kind == Kind::unavailable);
    CHECK(leases.answer(from(2, MessageType::discover), 61).address == at(100));
    CHECK(leases.answer(request(1, at(100)), 62).kind == Kind::nak);
}

TEST_CASE("a full pool gives the address that expired first") {
    LeasePool leases = pool();
    for (int machine = 1; machine <= 3; ++machine) take(leases, machine, machine);
    const auto full = leases.answer(from(4, MessageType::discover), 500);
    CHECK(full.kind == Kind::unavailable);
    CHECK(full.why.find("10.0.0.100-10.0.0.102") != std::string::npos);
    CHECK(take(leases, 4, 2000) == at(100));
    CHECK(leases.answer(request(1, at(100)), 2001).kind == Kind::nak);
    CHECK(take(leases, 1, 2002) == at(101));
}

TEST_CASE("renewing and rebooting keep the address, foreign ones are refused") {
    LeasePool leases = pool();
    take(leases, 1, 0);
    Packet renew = from(1, MessageType::request);
    renew.ciaddr = at(100);
    CHECK(leases.answer(renew, 900).kind == Kind::ack);
    CHECK(leases.leases()[0].expires == 1900);
    CHECK(leases.answer(request(1, at(100), {}), 901).kind == Kind::ack);
    CHECK(leases.answer(request(1, {0xc0a80005}, {}), 902).kind == Kind::nak);
    CHECK(leases.answer(request(2, at(100), {}), 903).kind == Kind::nak);
    CHECK(leases.answer(request(2, kServer, {}), 903).kind == Kind::nak);
}

TEST_CASE("who takes another server's offer gives ours back, silently") {
    LeasePool leases = pool(100, 100);
    CHECK(leases.answer(from(1, MessageType::discover), 0).kind == Kind::offer);
    CHECK(leases.answer(request(1, at(50), at(2)), 1).kind == Kind::silent);
    CHECK(leases.answer(from(2, MessageType::discover), 1).kind == Kind::offer);
}

TEST_CASE("a declined address rests, a released one is free") {
    LeasePool leases = pool(100, 101);
    take(leases, 1, 0);
    Packet decline = request(1, at(100));
    decline.type = MessageType::decline;
    CHECK(leases.answer(decline, 1).kind == Kind::silent);
    CHECK(take(leases, 1, 2) == at(101));
    CHECK(leases.answer(from(2, MessageType::discover), 3).kind == Kind::unavailable);
    Packet release = request(1, at(101));
    release.type = MessageType::release;
    leases.answer(release, 4);
    CHECK(take(leases, 2, 5) == at(101));
    CHECK(take(leases, 1, 700) == at(100));
}

TEST_CASE("leases come back after a restart") {
    LeasePool before = pool();
    take(before, 1, 0);
    take(before, 2, 0);
    LeasePool after = pool(101, 102);  // and the range may have changed
    after.restore(before.leases());
    REQUIRE(after.leases().size() == 1);
    CHECK(take(after, 2, 10) == at(101));
    CHECK(take(after, 1, 10) == at(102));
}

TEST_CASE("the server's own, the subnet's and the broadcast address are never leased") {
    LeasePool leases = pool(0, 2);
    CHECK(take(leases, 1, 0) == at(2));
    CHECK(leases.answer(from(2, MessageType::discover), 0).kind == Kind::unavailable);
}

TEST_CASE("a range must lie in the server's subnet and be of sane size") {
    PoolOptions options;
    options.server = kServer;
    options.netmask = {0xffffff00};
    options.first = at(200);
    options.last = at(100);
    CHECK_FALSE(LeasePool::make(options));
    options.last = {0x0a000164};
    CHECK_FALSE(LeasePool::make(options));
    options.netmask = {0xff000000};
    options.last = {0x0a100000};
    CHECK_FALSE(LeasePool::make(options));
}

TEST_CASE("a machine behind a relay of another subnet is left to its own server") {
    struct Row {
        const char* what;
        Ipv4 giaddr, subnet_selection, link_selection;
        bool served;
    };
    const Ipv4 none{}, here = at(254), elsewhere{0x0a630501};
    const Row rows[] = {
        {"no relay", none, none, none, true},
        {"a relay here", here, none, none, true},
        {"a relay elsewhere", elsewhere, none, none, false},
        {"a relay elsewhere that speaks for here (RFC 3527)", elsewhere, none, here, true},
        {"a relay here that speaks for elsewhere", here, none, elsewhere, false},
        {"a machine that selects a subnet (RFC 3011)", here, elsewhere, none, false},
        {"whose relay knows better", elsewhere, elsewhere, here, true},
    };
    for (const Row& row : rows) {
        INFO(row.what);
        LeasePool leases = pool();
        for (Packet packet : {from(1, MessageType::discover), request(1, at(101), {}),
                              request(1, {0x0a630509}, {}), from(1, MessageType::inform)}) {
            packet.giaddr = row.giaddr;
            if (!row.subnet_selection.empty())
                packet.options.add_u32(option::kSubnetSelection, row.subnet_selection.value);
            if (!row.link_selection.empty()) {
                std::uint8_t data[6] = {5, 4};
                store_be32(data + 2, row.link_selection.value);
                packet.options.append(option::kRelayAgent, data);
            }
            CHECK((leases.answer(packet, 0).kind == Kind::silent) == !row.served);
        }
        CHECK(leases.leases().size() == (row.served ? 1 : 0));
    }
}
