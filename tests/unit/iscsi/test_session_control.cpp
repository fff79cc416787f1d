#include <malloc.h>

#include <catch2/catch.hpp>

#include "tests/unit/iscsi/session_peers.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

TEST_CASE("StatSN and ExpCmdSN go up one by one") {
    World world;
    Peer peer(world);
    peer.login();
    std::uint32_t stat_sn = 0;
    for (std::uint32_t i = 0; i < 5; ++i) {
        const auto replies = i % 2 == 0 ? peer.read(0, 1) : nop(peer, 900 + i);
        REQUIRE(replies.size() == 1);
        if (i > 0) CHECK(replies[0].be32(24) == stat_sn + 1);
        stat_sn = replies[0].be32(24);
        CHECK(replies[0].be32(28) == peer.cmd_sn);
    }
}

TEST_CASE("the window shrinks with commands in flight and is never overrun") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    const std::uint32_t first = peer.cmd_sn;
    const std::uint64_t before = world.environment.counters.commands.get();
    for (std::uint32_t i = 0; i < Session::kCommandWindow + 20; ++i) peer.read(0, 1);
    // The rest is ignored.
    CHECK(world.environment.counters.commands.get() - before == Session::kCommandWindow);
    CHECK(world.link().disk->held.size() == Session::kCommandWindow);
    world.link().disk->complete_held();
    const auto replies = peer.replies();
    REQUIRE(replies.size() == Session::kCommandWindow);
    std::uint32_t max = first + Session::kCommandWindow - 1;
    for (const Reply& r : replies) {
        CHECK(r.be32(28) == first + Session::kCommandWindow);
        CHECK(r.be32(32) == ++max);
    }
}

TEST_CASE("CmdSN outside the window is ignored, in silence") {
    World world;
    Peer peer(world);
    peer.login();
    const std::uint32_t good = peer.cmd_sn;
    for (const std::uint32_t bad : {good - 1, good + Session::kCommandWindow, good + 0x80000000U}) {
        peer.cmd_sn = bad;
        CHECK(peer.read(0, 1).empty());
    }
    peer.cmd_sn = good;
    CHECK(peer.read(0, 1).size() == 1);
}

TEST_CASE("CmdSN wraps") {
    World world;
    Peer peer(world);
    peer.cmd_sn = 0xfffffffe;
    peer.login();
    for (int i = 0; i < 4; ++i) CHECK(peer.read(0, 1).size() == 1);
    CHECK(peer.cmd_sn == 3);
}

TEST_CASE("immediate commands take no CmdSN and are limited") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    const std::uint32_t cmd_sn = peer.cmd_sn;
    for (std::uint32_t i = 0; i <= Session::kMaxImmediate; ++i) {
        Request request(Opcode::scsi_command, kRead);
        peer.command(request.immediate(), read_10(0, 1), 512);
        peer.cmd_sn = cmd_sn;
        const auto replies = peer.send(request);
        if (i < Session::kMaxImmediate)
            CHECK(replies.empty());
        else
            check_reject(replies, 0x06);
    }
    world.link().disk->complete_held();
    const auto replies = peer.replies();
    REQUIRE(replies.size() == Session::kMaxImmediate);
    CHECK(replies[0].be32(28) == cmd_sn);
}

TEST_CASE("an initiator task tag in use is rejected") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    peer.read(0, 1);
    --peer.itt;
    check_reject(peer.read(0, 1), 0x07);
    world.link().disk->complete_held();
    CHECK(peer.replies().size() == 1);
}

TEST_CASE("what is no request of a session is rejected") {
    World world;
    Peer peer(world);
    peer.login();
    SECTION("unknown opcode") {
        check_reject(peer.send(Request(static_cast<Opcode>(0x1c), kFinal)), 0x05);
    }
    SECTION("a target's opcode") { check_reject(peer.send(Request(Opcode::r2t, kFinal)), 0x05); }
    SECTION("SNACK") { check_reject(peer.send(Request(Opcode::snack, kFinal)), 0x03); }
    SECTION("login again") { check_reject(peer.send(Request(Opcode::login, kFinal)), 0x04); }
    SECTION("reserved task attribute") {
        Request request(Opcode::scsi_command, kFinal | kCommandRead | 7);
        check_reject(peer.send(peer.command(request, read_10(0, 1), 512)), 0x09);
    }
    SECTION("data with a read") {
        Request request(Opcode::scsi_command, kRead);
        peer.command(request, read_10(0, 1), 512).with(pattern(512));
        check_reject(peer.send(request), 0x09);
    }
    SECTION("the reserved tag") {
        peer.itt = kReservedTag - 1;
        check_reject(peer.read(0, 1), 0x09);
    }
    CHECK(world.environment.counters.rejects.get() == 1);
    CHECK(peer.read(0, 1).size() == 1);
}

TEST_CASE("an oversized data segment ends the session after a Reject") {
    World world;
    Peer peer(world);
    peer.login();
    Request request(Opcode::nop_out, kFinal);
    request.with(ByteVector(kMaxRecvDataSegmentLength + 1));
    check_reject(peer.send(request), 0x09);
    CHECK(peer.connection().closing());
    peer.destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::protocol_error});
}

TEST_CASE("a corrupt header ends the session") {
    World world;
    Peer peer(world);
    peer.login({"HeaderDigest=CRC32C"});
    REQUIRE(peer.header_digest);
    CHECK(peer.read(0, 1).size() == 1);
    ByteVector bytes = peer.encode(Request(Opcode::nop_out, kFinal));
    bytes[20] ^= 1;
    peer.deliver(bytes);
    CHECK(peer.connection().closing());
    CHECK(world.environment.counters.digest_errors.get() == 1);
}

TEST_CASE("NOP-Out is echoed") {
    World world;
    Peer peer(world);
    peer.login();
    const auto replies = nop(peer, 0x123, pattern(100));
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::nop_in);
    CHECK(replies[0].bhs().itt() == 0x123);
    CHECK(replies[0].be32(20) == kReservedTag);
    CHECK(replies[0].data == pattern(100));
}

TEST_CASE("an initiator that answered a ping once is dropped when it falls silent") {
    World world;
    Peer peer(world);
    peer.login();
    peer.connection().tick(1'000);
    CHECK(peer.replies().empty());
    peer.connection().tick(3'000);
    auto pings = peer.replies();
    REQUIRE(pings.size() == 1);
    CHECK(pings[0].opcode() == Opcode::nop_in);
    CHECK(pings[0].bhs().itt() == kReservedTag);
    CHECK(pings[0].be32(20) != kReservedTag);
    Request answer(Opcode::nop_out, kFinal);
    answer.immediate();
    answer.writer.itt(kReservedTag).ttt(pings[0].be32(20)).be32(24, peer.cmd_sn);
    CHECK(peer.send(answer).empty());
    peer.connection().tick(4'000);  // it spoke
    peer.connection().tick(18'000);
    CHECK(peer.replies().empty());
    peer.connection().tick(19'000);  // 15 s of silence
    pings = peer.replies();
    REQUIRE(pings.size() == 1);
    peer.connection().tick(38'000);
    CHECK_FALSE(peer.connection().closing());
    SECTION("it stays silent") {
        peer.connection().tick(39'000);
        CHECK(peer.connection().closing());
        peer.destroy_if_finished();
        CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::timeout});
    }
    SECTION("it sends a command instead of the answer") {
        CHECK(peer.read(0, 1).size() == 1);
        peer.connection().tick(39'000);
        peer.connection().tick(58'000);
        CHECK_FALSE(peer.connection().closing());
    }
}

TEST_CASE("iPXE, which answers no ping, is kept until its operating system has taken over") {
    World world;
    Peer ipxe(world), system(world);
    ipxe.isid = 0x400027230001;
    ipxe.login();
    for (std::uint64_t now = 1'000; now < 3'600'000; now += 1'000) ipxe.connection().tick(now);
    CHECK_FALSE(ipxe.connection().closing());
    CHECK(ipxe.replies().size() == 1);  // one ping, not one every quarter minute
    system.login();
    system.connection().tick(3'600'000);
    ipxe.connection().tick(3'600'000);
    CHECK_FALSE(ipxe.connection().closing());  // the new one may be iPXE as well
    system.connection().tick(3'603'000);
    const auto pings = system.replies();
    REQUIRE(pings.size() == 1);
    Request answer(Opcode::nop_out, kFinal);
    answer.immediate();
    answer.writer.itt(kReservedTag).ttt(pings[0].be32(20));
    system.send(answer);
    ipxe.connection().tick(3'604'000);
    CHECK(ipxe.connection().closing());
    CHECK_FALSE(system.connection().closing());
}

TEST_CASE("logout: the session, its connection, and what we refuse") {
    World world;
    Peer peer(world);
    peer.cid = 3;
    peer.login();
    const auto logout = [&](std::uint8_t reason, std::uint16_t cid) {
        Request request(Opcode::logout, static_cast<std::uint8_t>(kFinal | reason));
        request.immediate();
        request.writer.itt(0x77).be16(20, cid).be32(24, peer.cmd_sn);
        const auto replies = peer.send(request);
        REQUIRE(replies.size() == 1);
        return replies[0];
    };
    CHECK(logout(2, 3).byte(2) == 2);  // removal for recovery
    CHECK(logout(1, 4).byte(2) == 1);  // no such connection
    CHECK(logout(9, 3).opcode() == Opcode::reject);
    CHECK_FALSE(peer.connection().closing());
    const auto reason = GENERATE(as<std::uint8_t>{}, 0, 1);
    const Reply last = logout(reason, 3);
    CHECK(last.opcode() == Opcode::logout_response);
    CHECK(last.byte(2) == 0);
    CHECK(last.bhs().itt() == 0x77);
    CHECK(peer.connection().closing());
    peer.destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::logout});
    CHECK(world.environment.sessions.size() == 0);
    CHECK(world.environment.counters.sessions.get() == 0);
}

TEST_CASE("the link ends a session; the initiator is told when its target is removed") {
    World world;
    Peer peer(world);
    peer.login();
    const SessionEnd why = GENERATE(SessionEnd::removed, SessionEnd::generation_ended);
    world.link().live.at(0)->end(why);
    CHECK(peer.connection().closing());
    CHECK(peer.pending > 0);
    const auto replies = peer.replies();
    if (why == SessionEnd::removed) {
        REQUIRE(replies.size() == 1);
        CHECK(replies[0].opcode() == Opcode::async_message);
        CHECK(replies[0].byte(36) == 3);
    } else {
        CHECK(replies.empty());
    }
    peer.destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{why});
}

TEST_CASE("a logout request before the portal stops") {
    World world;
    Peer peer(world);
    peer.login();
    peer.connection().request_logout(7);
    const auto replies = peer.replies();
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::async_message);
    CHECK(replies[0].byte(36) == 1);
    CHECK(load_be16(replies[0].header.data() + 42) == 7);  // Parameter3: seconds
    CHECK_FALSE(peer.connection().closing());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their malloc does not count
TEST_CASE("an idle session costs less than 64 KiB") {
    World world;
    constexpr std::size_t kSessions = 100;
    world.environment.max_sessions_per_initiator = 2 * kSessions;
    std::vector<std::unique_ptr<Peer>> peers;
    const auto use = [&] {
        peers.push_back(std::make_unique<Peer>(world));
        peers.back()->isid = peers.size();
        peers.back()->login();
        REQUIRE(peers.back()->read(0, 8).size() == 1);
    };
    use();  // what all share is there now
    const std::size_t before = ::mallinfo2().uordblks;
    for (std::size_t i = 0; i < kSessions; ++i) use();
    const std::size_t each = (::mallinfo2().uordblks - before) / kSessions;
    INFO(each << " bytes a session");
    CHECK(each > sizeof(Session));
    CHECK(each < 64 * 1024);
}
#endif
