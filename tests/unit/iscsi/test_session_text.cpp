// Text requests of the full feature phase, in normal and in discovery sessions (RFC 7143 11.10,
// 11.11, appendix C): their pieces, bounds and errors.
#include <catch2/catch.hpp>

#include "tests/unit/iscsi/session_peers.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

std::vector<Reply> text(Peer& peer, std::uint8_t flags, std::string_view content,
                        std::uint32_t ttt = kReservedTag) {
    Request request(Opcode::text, flags);
    request.with(content);
    request.writer.itt(0x500).ttt(ttt).be32(24, peer.cmd_sn++);
    return peer.send(request);
}

void discover(Peer& peer) {
    std::string who = pairs({"SessionType=Discovery", "MaxRecvDataSegmentLength=512"});
    append_pair(who, "InitiatorName", peer.initiator);
    const auto replies = peer.login_request(0x87, who);
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].login_status() == 0);
    CHECK_FALSE(replies[0].value("TargetPortalGroupTag"));
}

}  // namespace

TEST_CASE("discovery lists what this initiator may see, with portals and group") {
    World world;
    world.add_target("iqn.2026-11.io.goldlink:pc-002");
    world.entry("iqn.2026-11.io.goldlink:pc-002").allowed_initiators = {"iqn.a:somebody-else"};
    Peer peer(world);
    discover(peer);
    const auto replies = text(peer, kFinal, pairs({"SendTargets=All"}));
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::text_response);
    CHECK(replies[0].flags() == kFinal);
    CHECK(replies[0].be32(20) == kReservedTag);
    CHECK(replies[0].text() ==
          pairs({"TargetName=iqn.2026-11.io.goldlink:pc-001", "TargetAddress=10.0.0.1:3260,1",
                 "TargetAddress=10.1.0.1:3260,1"}));
    CHECK(
        text(peer, kFinal, pairs({"SendTargets=iqn.2026-11.io.goldlink:pc-002"}))[0].data.empty());
    CHECK(text(peer, kFinal, pairs({"SendTargets=iqn.2026-11.io.goldlink:pc-001"}))[0].data.size() >
          50);
    CHECK(text(peer, kFinal, pairs({"SendTargets="}))[0].value("SendTargets") == "Reject");
    check_reject(peer.read(0, 1), 0x04);
    check_reject(manage(peer, 6), 0x04);
    CHECK(nop(peer, 5).size() == 1);
}

TEST_CASE("a long list comes in pieces") {
    World world;
    std::string expected;
    for (int i = 100; i < 130; ++i)
        world.add_target("iqn.2026-11.io.goldlink:room-" + std::to_string(i));
    Peer peer(world);
    discover(peer);
    std::string all;
    auto replies = text(peer, kFinal, pairs({"SendTargets=All"}));
    for (int round = 0; round < 100; ++round) {
        REQUIRE(replies.size() == 1);
        CHECK(replies[0].data.size() <= 512);
        all += replies[0].text();
        if ((replies[0].flags() & kFinal) != 0) break;
        CHECK(replies[0].flags() == kContinue);
        REQUIRE(replies[0].be32(20) != kReservedTag);
        replies = text(peer, kFinal, "", replies[0].be32(20));
    }
    const auto keys = parse_text(all.substr(0, all.find("room-110")) + std::string(1, '\0'));
    REQUIRE(keys);
    CHECK(keys->size() > 20);
    std::size_t count = 0;
    for (std::size_t at = 0; (at = all.find("TargetName=", at)) != std::string::npos; ++at) ++count;
    CHECK(count == 31);
}

TEST_CASE("SendTargets in a normal session is about its own target") {
    World world;
    world.add_target("iqn.2026-11.io.goldlink:pc-002");
    Peer peer(world);
    peer.login();
    CHECK(text(peer, kFinal, pairs({"SendTargets=All"}))[0].value("SendTargets") == "Reject");
    CHECK(text(peer, kFinal, pairs({"SendTargets="}))[0].value("TargetName") ==
          "iqn.2026-11.io.goldlink:pc-001");
    CHECK(text(peer, kFinal, pairs({"SendTargets=iqn.2026-11.io.goldlink:pc-002"}))[0].value(
              "SendTargets") == "Reject");
}

TEST_CASE("text in full feature phase: pieces, new lengths, errors") {
    World world;
    Peer peer(world);
    peer.login({"MaxRecvDataSegmentLength=8192"});
    auto replies = text(peer, kContinue, "MaxRecvData");
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].flags() == 0);
    replies = text(peer, kFinal, std::string("SegmentLength=512\0", 18), replies[0].be32(20));
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].flags() == kFinal);
    CHECK(peer.read(0, 4).size() == 4);  // 512 bytes each from now on
    CHECK(text(peer, kFinal, pairs({"MaxBurstLength=512"}))[0].value("MaxBurstLength") == "Reject");
    CHECK(text(peer, kFinal, pairs({"X-whatever=1"}))[0].value("X-whatever") == "NotUnderstood");
    check_reject(text(peer, kFinal, "nonsense"), 0x04);
    check_reject(text(peer, kFinal, pairs({"A=1", "A=1"})), 0x04);
    check_reject(text(peer, kFinal | kContinue, ""), 0x09);
    check_reject(text(peer, kFinal, "", 0x3333), 0x09);
    replies = text(peer, kContinue, std::string(8192, 'x'));
    std::uint32_t tag = replies.at(0).be32(20);
    for (int i = 0; i < 7; ++i) replies = text(peer, kContinue, std::string(8192, 'x'), tag);
    check_reject(text(peer, kContinue, "x", tag), 0x0a);
}

TEST_CASE("text that never ends holds no more than its bounds") {
    World world;
    Peer peer(world);
    peer.login({"MaxRecvDataSegmentLength=512"});
    auto unknown = [next = 0]() mutable {
        std::string keys;
        for (int i = 0; i < 60; ++i) append_pair(keys, "X-" + std::to_string(next++), "1");
        return keys;
    };
    auto replies = text(peer, 0, unknown());
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].flags() == kContinue);
    const std::uint32_t tag = replies[0].be32(20);
    // More questions before the answer was fetched would pile up answers.
    check_reject(text(peer, 0, unknown(), tag), 0x04);
    while (replies[0].flags() == kContinue) {
        replies = text(peer, 0, "", tag);
        REQUIRE(replies.size() == 1);
        REQUIRE(replies[0].opcode() == Opcode::text_response);
    }
    // A negotiation that goes on may not teach us names for ever.
    check_reject(text(peer, 0, unknown(), tag), 0x04);
    CHECK(text(peer, kFinal, pairs({"X-new=1"}))[0].value("X-new") == "NotUnderstood");
}
