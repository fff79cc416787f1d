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

// Machines 1 to 9 are in it, and none has more than one address.
BootTable room() {
    std::vector<TableClient> clients;
    for (std::uint8_t machine = 1; machine <= 9; ++machine) {
        Mac mac = test::client_mac();
        mac.bytes[5] = machine;
        const std::string name = "PC-" + std::to_string(machine);
        clients.push_back({name, name, {mac}, {}, BootFrom::link, ""});
    }
    return BootTable::make(1, {}, clients).value();
}

AddressAnswer answer(LeasePool& leases, const Packet& packet, std::int64_t now) {
    static const BootTable kRoom = room();
    return leases.answer(packet, now, kRoom);
}

Ipv4 take_from(LeasePool& leases, int machine, Ipv4 server, std::int64_t now = 0) {
    const auto offer = answer(leases, from(machine, MessageType::discover), now);
    REQUIRE(offer.kind == Kind::offer);
    const auto ack = answer(leases, request(machine, offer.address, server), now);
    REQUIRE(ack.kind == Kind::ack);
    REQUIRE(ack.address == offer.address);
    return ack.address;
}

Ipv4 take(LeasePool& leases, int machine, std::int64_t now) {
    return take_from(leases, machine, kServer, now);
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
    CHECK(answer(leases, from(1, MessageType::discover), 0).address == at(100));
    CHECK_FALSE(leases.take_changed());
    CHECK(leases.leases().empty());
    CHECK(answer(leases, from(2, MessageType::discover), 30).kind == Kind::unavailable);
    CHECK(answer(leases, from(2, MessageType::discover), 61).address == at(100));
    CHECK(answer(leases, request(1, at(100)), 62).kind == Kind::nak);
}

TEST_CASE("a full pool gives the address that expired first") {
    LeasePool leases = pool();
    for (int machine = 1; machine <= 3; ++machine) take(leases, machine, machine);
    const auto full = answer(leases, from(4, MessageType::discover), 500);
    CHECK(full.kind == Kind::unavailable);
    CHECK(full.why.find("10.0.0.100-10.0.0.102") != std::string::npos);
    CHECK(take(leases, 4, 2000) == at(100));
    CHECK(answer(leases, request(1, at(100)), 2001).kind == Kind::nak);
    CHECK(take(leases, 1, 2002) == at(101));
}

TEST_CASE("renewing and rebooting keep the address, foreign ones are refused") {
    LeasePool leases = pool();
    take(leases, 1, 0);
    Packet renew = from(1, MessageType::request);
    renew.ciaddr = at(100);
    CHECK(answer(leases, renew, 900).kind == Kind::ack);
    CHECK(leases.leases()[0].expires == 1900);
    CHECK(answer(leases, request(1, at(100), {}), 901).kind == Kind::ack);
    CHECK(answer(leases, request(1, {0xc0a80005}, {}), 902).kind == Kind::nak);
    CHECK(answer(leases, request(2, at(100), {}), 903).kind == Kind::nak);
    CHECK(answer(leases, request(2, kServer, {}), 903).kind == Kind::nak);
}

TEST_CASE("who takes another server's offer gives ours back, silently") {
    LeasePool leases = pool(100, 100);
    CHECK(answer(leases, from(1, MessageType::discover), 0).kind == Kind::offer);
    CHECK(answer(leases, request(1, at(50), at(2)), 1).kind == Kind::silent);
    CHECK(answer(leases, from(2, MessageType::discover), 1).kind == Kind::offer);
}

TEST_CASE("a declined address rests, a released one is free") {
    LeasePool leases = pool(100, 101);
    take(leases, 1, 0);
    Packet decline = request(1, at(100));
    decline.type = MessageType::decline;
    CHECK(answer(leases, decline, 1).kind == Kind::silent);
    CHECK(take(leases, 1, 2) == at(101));
    CHECK(answer(leases, from(2, MessageType::discover), 3).kind == Kind::unavailable);
    Packet release = request(1, at(101));
    release.type = MessageType::release;
    answer(leases, release, 4);
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
    CHECK(answer(leases, from(2, MessageType::discover), 0).kind == Kind::unavailable);
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
            CHECK((answer(leases, packet, 0).kind == Kind::silent) == !row.served);
        }
        CHECK(leases.leases().size() == (row.served ? 1 : 0));
    }
}

TEST_CASE("what is newly offered is to be probed, what a machine holds is not") {
    LeasePool leases = pool();
    CHECK(answer(leases, from(1, MessageType::discover), 0).probe);
    CHECK(answer(leases, from(1, MessageType::discover), 1).probe);  // it may have come up since
    CHECK_FALSE(answer(leases, request(1, at(100)), 2).probe);
    CHECK_FALSE(answer(leases, from(1, MessageType::discover), 3).probe);
    CHECK(answer(leases, from(1, MessageType::discover), 2000).probe);  // expired
}

TEST_CASE("an address that somebody else uses is left out for ten minutes") {
    LeasePool leases = pool();
    Mac printer = test::client_mac();
    printer.bytes[5] = 200;
    CHECK(answer(leases, from(1, MessageType::discover), 0).address == at(100));
    CHECK(leases.in_use(at(100), printer, 0));
    CHECK(answer(leases, from(1, MessageType::discover), 0).address == at(101));
    CHECK(answer(leases, request(1, at(100)), 1).kind == Kind::nak);
    CHECK(take(leases, 1, 2) == at(101));
    CHECK(take(leases, 2, 3) == at(102));
    CHECK(answer(leases, from(3, MessageType::discover), 599).kind == Kind::unavailable);
    CHECK(take(leases, 3, 600) == at(100));
    CHECK(leases.leases().size() == 3);
}

TEST_CASE("a machine that answers for every address is not believed for ever") {
    LeasePool leases = pool(100, 199);
    Mac proxy = test::client_mac();
    proxy.bytes[5] = 200;
    for (std::uint32_t host = 100; host < 100 + kMaxClaimsPerMachine; ++host)
        CHECK(leases.in_use(at(host), proxy, 0));
    CHECK_FALSE(leases.in_use(at(150), proxy, 1));
    CHECK(take(leases, 1, 2) == at(100 + kMaxClaimsPerMachine));
    CHECK(leases.in_use(at(150), proxy, 1000));
    LeasePool small = pool(100, 103);
    CHECK(small.in_use(at(100), proxy, 0));
    CHECK(small.in_use(at(101), proxy, 0));
    CHECK_FALSE(small.in_use(at(102), proxy, 0));
}

TEST_CASE("strangers get no address that machines of the boot table may need") {
    LeasePool leases = pool(100, 119);  // 20 addresses, 9 kept
    std::int64_t now = 100000;
    int given = 0;
    for (int stranger = 10; stranger < 60; ++stranger) {
        const auto offer = answer(leases, from(stranger, MessageType::discover), ++now);
        if (offer.kind != Kind::offer) {
            CHECK(offer.kind == Kind::unavailable);
            CHECK(offer.why.find("not in the boot table") != std::string::npos);
            continue;
        }
        ++given;
        CHECK(answer(leases, request(stranger, offer.address), now).kind == Kind::ack);
    }
    CHECK(given == 11);
    CHECK(answer(leases, request(99, at(119), {}), now).kind == Kind::silent);  // asked outright
    for (int machine = 1; machine <= 9; ++machine) take(leases, machine, now);
}

TEST_CASE("at most half of the pool is kept") {
    LeasePool leases = pool(100, 103);
    take(leases, 10, 0);
    take(leases, 11, 0);
    CHECK(answer(leases, from(12, MessageType::discover), 0).kind == Kind::unavailable);
    take(leases, 1, 0);
    take(leases, 2, 0);
    CHECK(answer(leases, from(3, MessageType::discover), 0).kind == Kind::unavailable);
}

TEST_CASE("strangers' new addresses come at a bounded rate") {
    LeasePool leases = pool(2, 250);
    int given = 0;
    for (int stranger = 10; stranger < 200; ++stranger)
        if (answer(leases, from(stranger, MessageType::discover), 50000).kind == Kind::offer)
            ++given;
    CHECK(given == kStrangerBurst);
    given = 0;
    for (int stranger = 200; stranger < 250; ++stranger)
        if (answer(leases, from(stranger, MessageType::discover), 50005).kind == Kind::offer)
            ++given;
    CHECK(given == 5 * kStrangersPerSecond);
    CHECK(answer(leases, from(10, MessageType::discover), 50005).kind == Kind::offer);  // its own
    CHECK(answer(leases, from(1, MessageType::discover), 50005).kind == Kind::offer);
    // A clock that is set back does not stop it.
    CHECK(answer(leases, from(250, MessageType::discover), 100).kind == Kind::silent);
    CHECK(answer(leases, from(250, MessageType::discover), 101).kind == Kind::offer);
}

TEST_CASE("an offer that a stranger did not take goes first") {
    LeasePool leases = pool(100, 101);
    CHECK(answer(leases, from(10, MessageType::discover), 0).address == at(100));
    CHECK(answer(leases, from(11, MessageType::discover), 5).kind == Kind::unavailable);
    CHECK(answer(leases, from(11, MessageType::discover), 15).address == at(100));
    take(leases, 1, 16);
    CHECK(take(leases, 2, 17) == at(100));  // at once for a machine of the table
    CHECK(answer(leases, request(11, at(100)), 18).kind == Kind::nak);
}

TEST_CASE("a stranger's first lease is short, and full when it renews") {
    PoolOptions options;
    options.first = at(100);
    options.last = at(109);
    options.server = kServer;
    options.netmask = {0xffffff00};
    LeasePool leases = LeasePool::make(options).value();
    const auto seconds = [&](const Packet& packet, std::int64_t now) {
        return answer(leases, packet, now).lease_seconds;
    };
    CHECK(seconds(from(1, MessageType::discover), 0) == 43200);
    CHECK(seconds(request(1, at(100)), 0) == 43200);
    CHECK(seconds(from(10, MessageType::discover), 0) == kStrangerSeconds);
    CHECK(seconds(request(10, at(101)), 0) == kStrangerSeconds);
    CHECK(seconds(request(10, at(101)), 10) == kStrangerSeconds);  // the next stage of its boot
    CHECK(seconds(request(10, at(101)), 300) == 43200);
    CHECK(seconds(request(10, at(101)), 300 + 21600) == 43200);
}

TEST_CASE("what strangers declined is tried again for a machine of the table") {
    LeasePool leases = pool(100, 100);
    take(leases, 10, 0);
    Packet decline = request(10, at(100));
    decline.type = MessageType::decline;
    answer(leases, decline, 1);
    CHECK(answer(leases, from(11, MessageType::discover), 2).kind == Kind::unavailable);
    CHECK(answer(leases, from(1, MessageType::discover), 3).probe);
}

TEST_CASE("a renewal that moves the end by little is not written down") {
    LeasePool leases = pool();
    take(leases, 1, 0);
    CHECK(leases.take_changed());
    answer(leases, request(1, at(100)), 30);
    CHECK_FALSE(leases.take_changed());
    answer(leases, request(1, at(100)), 90);
    CHECK(leases.take_changed());
}

TEST_CASE("a machine that still uses its address after its lease was over may have it again") {
    LeasePool leases = pool(100, 100);
    take(leases, 1, 0);
    CHECK(answer(leases, from(2, MessageType::discover), 2000).address == at(100));  // is probed
    Mac first = test::client_mac();
    first.bytes[5] = 1;
    CHECK(leases.in_use(at(100), first, 2000));
    CHECK(answer(leases, from(2, MessageType::discover), 2001).kind == Kind::unavailable);
    Packet renew = from(1, MessageType::request);
    renew.ciaddr = at(100);
    CHECK(answer(leases, renew, 2002).kind == Kind::ack);
    CHECK(leases.in_use(at(100), first, 4000));
    CHECK(take(leases, 1, 4001) == at(100));
    CHECK(leases.leases().size() == 1);
}

TEST_CASE("the pool serves from the address that its interface has") {
    LeasePool leases = pool();
    const Ipv4 mask{0xffffff00};
    leases.serve_from({{{0xc0a80001}, mask}, {at(9), mask}, {kServer, mask}});
    CHECK(leases.server() == kServer);  // as long as it is there
    leases.serve_from({{{0xc0a80001}, mask}, {at(101), mask}});
    CHECK(leases.server() == at(101));
    CHECK(take_from(leases, 1, at(101)) == at(100));
    CHECK(take_from(leases, 2, at(101)) == at(102));  // its own is not leased
    leases.serve_from({{{0xc0a80001}, mask}});
    const auto none = answer(leases, from(1, MessageType::discover), 0);
    CHECK(none.kind == Kind::unavailable);
    CHECK(none.why.find("10.0.0.100-10.0.0.102") != std::string::npos);
    leases.serve_from({{kServer, mask}});
    CHECK(answer(leases, from(1, MessageType::discover), 0).address == at(100));
}
