#include <malloc.h>

#include <catch2/catch.hpp>

#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kRead = kFinal | kCommandRead | 1;
constexpr std::uint8_t kWrite = kFinal | kCommandWrite | 1;

std::vector<Reply> nop(Peer& peer, std::uint32_t itt, ByteVector data = {}) {
    Request request(Opcode::nop_out, kFinal);
    request.with(std::move(data));
    request.writer.itt(itt).ttt(kReservedTag).be32(24, peer.cmd_sn++);
    return peer.send(request);
}

std::vector<Reply> manage(Peer& peer, unsigned function, std::uint32_t referenced = kReservedTag,
                          std::uint64_t lun = 0) {
    Request request(Opcode::task_management, static_cast<std::uint8_t>(kFinal | function));
    request.immediate();
    request.writer.lun(lun).itt(0x7000).be32(20, referenced).be32(24, peer.cmd_sn);
    return peer.send(request);
}

std::vector<Reply> text(Peer& peer, std::uint8_t flags, std::string_view content,
                        std::uint32_t ttt = kReservedTag) {
    Request request(Opcode::text, flags);
    request.with(content);
    request.writer.itt(0x500).ttt(ttt).be32(24, peer.cmd_sn++);
    return peer.send(request);
}

void check_reject(const std::vector<Reply>& replies, std::uint8_t reason) {
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].byte(2) == reason);
    CHECK(replies[0].bhs().itt() == kReservedTag);
    CHECK(replies[0].data.size() >= kBhsBytes);
}

void check_management(const std::vector<Reply>& replies, std::uint8_t response) {
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::task_management_response);
    CHECK(replies[0].byte(2) == response);
    CHECK(replies[0].bhs().itt() == 0x7000);
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

TEST_CASE("task management: what exists, what does not, what we cannot") {
    World world;
    Peer peer(world);
    peer.login();
    check_management(manage(peer, 1, 0x9999), 1);  // ABORT TASK of nothing
    check_management(manage(peer, 8, 0x9999), 4);  // TASK REASSIGN
    check_management(manage(peer, 0x55), 5);       // no such function
    check_management(manage(peer, 5, kReservedTag, 0x00ee000000000000), 2);  // no such LUN
    check_management(manage(peer, 2), 0);
    check_management(manage(peer, 4), 0);
    check_management(manage(peer, 5), 0);
    check_management(manage(peer, 6), 0);
    CHECK(world.environment.counters.task_management.get() == 8);
}

TEST_CASE("ABORT TASK of a command at the disk answers when the disk is done, the command never") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    peer.read(0, 1);
    const std::uint32_t aborted = peer.itt;
    CHECK(manage(peer, 1, aborted).empty());
    world.link().disk->complete_held();
    check_management(peer.replies(), 0);
    CHECK(peer.read(0, 1).size() == 1);
}

TEST_CASE("ABORT TASK of a write that waits for data") {
    World world;
    Peer peer(world);
    peer.login({"InitialR2T=Yes", "ImmediateData=No"});
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = peer.send(peer.command(write, write_10(0, 8), 4096));
    REQUIRE(r2t.size() == 1);
    check_management(manage(peer, 1, peer.itt), 0);
    Request late(Opcode::data_out, kFinal);
    late.with(pattern(4096));
    late.writer.itt(peer.itt).ttt(r2t[0].be32(20));
    CHECK(peer.send(late).empty());
    CHECK(world.link().device.tasks_in_flight() == 0);
    CHECK(world.environment.buffers.out_bytes() == 0);
}

TEST_CASE("ABORT TASK for a command that never arrived fills its gap") {
    World world;
    Peer peer(world);
    peer.login();
    const std::uint32_t lost = peer.cmd_sn++;
    CHECK(peer.read(0, 1).empty());  // waits behind the gap
    Request request(Opcode::task_management, kFinal | 1);
    request.immediate();
    request.writer.itt(0x7000).be32(20, 0x4242).be32(24, peer.cmd_sn).be32(32, lost);
    const auto replies = peer.send(request);
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].byte(2) == 0);
    CHECK(replies[1].opcode() == Opcode::data_in);
    CHECK(replies[1].be32(28) == peer.cmd_sn);
}

TEST_CASE("LUN RESET drops the writes of other sessions that wait for data") {
    World world;
    Peer one(world), other(world);
    one.login({"InitialR2T=Yes", "ImmediateData=No"});
    other.isid = 7;
    other.login();
    Request write(Opcode::scsi_command, kWrite);
    REQUIRE(one.send(one.command(write, write_10(0, 8), 4096)).size() == 1);
    check_management(manage(other, 5), 0);
    one.connection().tick(1'000);
    CHECK(world.link().device.tasks_in_flight() == 0);
    CHECK(one.replies().empty());
}

// The buffer went back to the pool while the stream still wrote into it, so that half a segment
// landed in whatever command had it next.
TEST_CASE("LUN RESET while a Data-Out arrives: the rest of the segment is dropped") {
    World world;
    Peer one(world), other(world);
    one.login({"InitialR2T=Yes", "ImmediateData=No"});
    other.isid = 7;
    other.login();
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = one.send(one.command(write, write_10(0, 8), 4096));
    REQUIRE(r2t.size() == 1);
    Request data(Opcode::data_out, kFinal);
    data.with(pattern(4096)).writer.itt(one.itt).ttt(r2t[0].be32(20)).be32(36, 0).be32(40, 0);
    const ByteVector bytes = one.encode(data);
    one.deliver(Bytes(bytes).first(1000));
    REQUIRE(one.connection().direct_space().size() == kBhsBytes + 4096 - 1000);
    check_management(manage(other, 5), 0);
    CHECK(one.connection().direct_space().empty());  // that memory is another's now
    CHECK(world.environment.buffers.out_bytes() == 0);
    one.connection().tick(1'000);
    one.deliver(Bytes(bytes).subspan(1000));
    CHECK(world.environment.buffers.out_bytes() == 0);
    CHECK(world.link().device.tasks_in_flight() == 0);
    CHECK(one.replies().empty());
    CHECK(world.link().disk->memory == ByteVector(world.link().disk->memory.size(), 0));
}

TEST_CASE("task management requests that wait for a slow disk are limited") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    CHECK(peer.read(0, 1).empty());
    for (std::uint32_t i = 0; i < Session::kMaxImmediate; ++i) CHECK(manage(peer, 5).empty());
    check_reject(manage(peer, 5), 0x06);
    world.link().disk->complete_held();
    CHECK(peer.replies().size() == Session::kMaxImmediate);
    check_management(manage(peer, 5), 0);
}

TEST_CASE("TARGET COLD RESET ends every session of the target") {
    World world;
    world.add_target("iqn.2026-11.io.goldlink:pc-002");
    Peer one(world), other(world);
    one.login();
    other.isid = 7;
    other.login();
    check_management(manage(one, 7), 0);
    CHECK(one.connection().closing());
    CHECK(other.connection().closing());
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
