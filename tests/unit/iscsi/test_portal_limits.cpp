// What one peer may take of a portal, and for how long.
#include "tests/unit/iscsi/portal_rig.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

TEST_CASE("half-open connections are reaped") {
    PortalOptions options;
    options.login_timeout_ms = 200;
    Server server(options);
    Raw silent(server), partial(server);
    partial.send(ByteVector(20, 3));
    CHECK(silent.read_all().empty());
    CHECK(partial.read_all().empty());
    // A login that was begun is bounded as well.
    Raw slow(server);
    Peer writer(server.world);
    Request first(Opcode::login, 0x04);
    first.immediate().with(
        pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.2026-11.io.goldlink:pc-001"}));
    slow.send(writer.encode(first));
    CHECK(slow.read_all().size() > kBhsBytes);
    CHECK(eventually([&] { return server.portals->counters()[0].logins_refused == 1; }));
}

TEST_CASE("the oldest half-open connection goes when there are too many") {
    PortalOptions options;
    options.max_half_open = 2;
    Server server(options);
    Raw first(server), second(server), third(server);
    CHECK(first.read_all().empty());
    Initiator initiator(server);  // the second goes for this one
    CHECK(initiator.connected);
}

TEST_CASE("logins that were begun and not finished make room for later ones") {
    PortalOptions options;
    options.max_half_open = 2;
    Server server(options);
    Peer writer(server.world);
    Request begin(Opcode::login, 0x04);
    begin.immediate().with(
        pairs({"InitiatorName=iqn.a:b", "TargetName=iqn.2026-11.io.goldlink:pc-001"}));
    const auto request = writer.encode(begin);
    Raw first(server), second(server);
    first.send(request);
    CHECK(eventually([&] { return first.readable(); }));  // its answer: it is on its reactor
    second.send(request);
    CHECK(eventually([&] { return second.readable(); }));
    Raw third(server);
    third.send(request);
    CHECK(first.read_all().size() > kBhsBytes);  // the answer, then the end
    CHECK(server.portals->counters()[0].half_open_dropped == 1);
    Initiator initiator(server);
    CHECK(initiator.connected);
}

TEST_CASE("discovery sessions are bounded in number by address, and in time") {
    PortalOptions options;
    options.max_discovery_per_address = 2;
    Server server(options);
    Initiator bystander(server);
    REQUIRE(bystander.connected);
    Peer writer(server.world);
    Request login(Opcode::login, 0x87);
    login.immediate().with(pairs({"InitiatorName=iqn.a:b", "SessionType=Discovery"}));
    const auto request = writer.encode(login);
    const auto discover = [&](Raw& raw) {
        raw.send(request);
        CHECK(eventually([&] { return raw.readable(); }));
    };
    Raw first(server), second(server), third(server);
    for (Raw* raw : {&first, &second, &third}) discover(*raw);
    CHECK(first.read_all().size() >= kBhsBytes);  // its answer, then the end
    CHECK(server.portals->counters()[0].discovery_dropped == 1);

    options.discovery_timeout_ms = 100;
    Server hasty(options);
    Raw only(hasty);
    discover(only);
    CHECK(only.read_all().size() >= kBhsBytes);
    CHECK(hasty.portals->counters()[0].discovery_dropped == 1);
    CHECK(bystander.read(0, 512).size() == 512);
}

TEST_CASE("a peer that never reads its socket is dropped, and nobody else is") {
    PortalOptions options;
    options.stall_timeout_ms = 300;
    Server server(options);
    Initiator bystander(server);
    REQUIRE(bystander.connected);
    Peer writer(server.world);
    Raw raw(server);
    raw.send(login_bytes(writer));
    CHECK(eventually([&] { return server.portals->session_count() == 2; }));
    // 64 MiB of answers: more than the kernel's buffers and our bound take.
    for (int i = 0; i < 16; ++i) {
        Request request(Opcode::scsi_command, kFinal | kCommandRead);
        writer.command(request, read_10(0, 8192), 4U << 20);
        raw.send(writer.encode(request));
    }
    CHECK(eventually([&] { return server.portals->session_count() == 1; }));
    CHECK(server.portals->counters()[0].slow_readers == 1);
    CHECK(bystander.read(0, 4096).size() == 4096);
}

TEST_CASE("a peer that leaves a PDU unfinished is dropped, and nobody else is") {
    PortalOptions options;
    options.stall_timeout_ms = 300;
    Server server(options);
    Initiator bystander(server);
    REQUIRE(bystander.connected);
    Peer writer(server.world);
    Raw header(server), data(server);
    for (Raw* raw : {&header, &data}) raw->send(login_bytes(writer));
    CHECK(eventually([&] { return server.portals->session_count() >= 2; }));
    header.send(ByteVector(20, 0));
    Request request(Opcode::nop_out, kFinal);
    request.immediate().with(ByteVector(1000, 'x'));
    auto bytes = writer.encode(request);
    bytes.resize(500);
    data.send(bytes);
    CHECK(eventually([&] { return server.portals->counters()[0].slow_writers >= 1; }));
    CHECK(eventually([&] { return server.portals->session_count() == 1; }));
    CHECK(bystander.read(0, 4096).size() == 4096);
}

TEST_CASE("limits of connections and of logins a second") {
    PortalOptions options;
    options.max_connections_per_address = 2;
    Server server(options);
    Initiator one(server), two(server);
    REQUIRE(one.connected);
    REQUIRE(two.connected);
    Raw third(server);
    CHECK(third.read_all().empty());
    CHECK(server.portals->counters()[0].refused_address == 1);
    CHECK(one.read(0, 512).size() == 512);

    PortalOptions slow;
    slow.logins_per_second_per_address = 1;
    Server limited(slow);
    for (int i = 0; i < 20; ++i) Raw(limited).socket.reset();
    CHECK(eventually([&] {
        const auto c = limited.portals->counters()[0];
        return c.connections_accepted + c.refused_rate == 20;
    }));
    CHECK(limited.portals->counters()[0].refused_rate >= 15);
}
