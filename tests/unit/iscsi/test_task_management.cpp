// Task management: what is answered to what, and what a request waits for, in one connection and
// over several (RFC 7143 4.2.3.2, 4.2.2.3.2, 11.5).
#include <catch2/catch.hpp>

#include "tests/unit/iscsi/session_peers.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr unsigned kAbortTask = 1, kAbortTaskSet = 2, kClearTaskSet = 4, kLunReset = 5,
                   kWarmReset = 6, kColdReset = 7;

void check_management(const std::vector<Reply>& replies, std::uint8_t response = 0) {
    const Reply& r = only(replies, Opcode::task_management_response);
    CHECK(r.byte(2) == response);
    CHECK(r.bhs().itt() == 0x7000);
}

std::vector<Reply> data_out(Peer& peer, std::uint32_t itt, const Reply& r2t,
                            const ByteVector& data) {
    Request out(Opcode::data_out, kFinal);
    out.with(data);
    out.writer.itt(itt).ttt(r2t.be32(20)).be32(40, r2t.be32(40));
    return peer.send(out);
}

}  // namespace

TEST_CASE("task management: what exists, what does not, what we cannot") {
    World world;
    Peer peer(world);
    peer.login();
    check_management(manage(peer, kAbortTask, 0x9999), 1);  // ABORT TASK of nothing
    check_management(manage(peer, 8, 0x9999), 4);           // TASK REASSIGN
    check_management(manage(peer, 0x55), 5);                // no such function
    check_management(manage(peer, kLunReset, kReservedTag, 0, 0x00ee000000000000),
                     2);  // no such LUN
    check_management(manage(peer, kAbortTaskSet));
    check_management(manage(peer, kClearTaskSet));
    check_management(manage(peer, kLunReset));
    check_management(manage(peer, kWarmReset));
    CHECK(world.environment.counters.task_management.get() == 8);
}

TEST_CASE("ABORT TASK of a command at the disk answers when the disk is done, the command never") {
    World world;
    Peer peer(world);
    peer.login();
    world.link().disk->hold = true;
    peer.read(0, 1);
    const std::uint32_t aborted = peer.itt;
    CHECK(manage(peer, kAbortTask, aborted).empty());
    world.link().disk->complete_held();
    check_management(peer.replies());
    CHECK(peer.read(0, 1).size() == 1);
}

TEST_CASE("ABORT TASK of a write that waits for data") {
    World world;
    Peer peer(world);
    peer.login({"InitialR2T=Yes", "ImmediateData=No"});
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = peer.send(peer.command(write, write_10(0, 8), 4096));
    REQUIRE(r2t.size() == 1);
    check_management(manage(peer, kAbortTask, peer.itt));
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
    check_management(manage(other, kLunReset));
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
    check_management(manage(other, kLunReset));
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
    for (std::uint32_t i = 0; i < Session::kMaxImmediate; ++i)
        CHECK(manage(peer, kLunReset).empty());
    check_reject(manage(peer, kLunReset), 0x06);
    world.link().disk->complete_held();
    CHECK(peer.replies().size() == Session::kMaxImmediate);
    check_management(manage(peer, kLunReset));
}

TEST_CASE("TARGET COLD RESET ends every session of the target") {
    World world;
    world.add_target("iqn.2026-11.io.goldlink:pc-002");
    Peer one(world), other(world);
    one.login();
    other.isid = 7;
    other.login();
    check_management(manage(one, kColdReset));
    CHECK(one.connection().closing());
    CHECK(other.connection().closing());
}

TEST_CASE("an abort of several tasks waits for the data of R2Ts that are out, and sends no more") {
    World world;
    Peer peer(world);
    peer.login({"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=512"});
    const unsigned function = GENERATE(kAbortTaskSet, kClearTaskSet, kLunReset, kWarmReset);
    const bool whole = GENERATE(false, true);
    Request write(Opcode::scsi_command, kWrite);
    const std::uint16_t blocks = whole ? 1 : 2;
    const auto r2t = peer.send(peer.command(write, write_10(0, blocks), blocks * 512U));
    only(r2t, Opcode::r2t);
    const std::uint32_t itt = peer.itt;
    CHECK(manage(peer, function).empty());
    CHECK(manage(peer, function).empty());  // a second one does not disturb the first
    const auto replies = data_out(peer, itt, r2t[0], pattern(512));
    const std::size_t first = whole ? 1 : 0;  // the whole write is executed and answered before
    REQUIRE(replies.size() == first + 2);
    if (whole) CHECK(replies[0].opcode() == Opcode::scsi_response);
    CHECK(replies[first].opcode() == Opcode::task_management_response);
    CHECK(replies[first + 1].opcode() == Opcode::task_management_response);
    CHECK((world.link().disk->memory[1] != 0) == whole);
    CHECK(world.link().device.tasks_in_flight() == 0);
    CHECK(world.environment.buffers.out_bytes() == 0);
}

TEST_CASE("open-iscsi sends nothing for R2Ts after an abort: the wait is bounded") {
    World world;
    Peer peer(world);
    peer.login({"InitialR2T=Yes", "ImmediateData=No"});
    Request write(Opcode::scsi_command, kWrite);
    only(peer.send(peer.command(write, write_10(0, 8), 4096)), Opcode::r2t);
    CHECK(manage(peer, kLunReset).empty());
    peer.connection().tick(1'000);
    peer.connection().tick(1'000 + TaskManagement::kMaxDataWaitMs - 1);
    for (const Reply& r : peer.replies()) CHECK(r.opcode() == Opcode::nop_in);
    peer.connection().tick(1'000 + TaskManagement::kMaxDataWaitMs);
    const auto replies = peer.replies();  // and perhaps a ping
    REQUIRE(!replies.empty());
    check_management({replies[0]});
    CHECK(world.link().device.tasks_in_flight() == 0);
}

TEST_CASE("a LUN reset waits for the commands before it, and those after it for the reset") {
    World world;
    SessionPeers session(world, 2);
    auto& disk = *world.link().disk;
    disk.hold = true;
    const std::uint32_t before = session.take_cmd_sn();
    CHECK(manage(session[0], kLunReset).empty());  // the command before it has not come
    CHECK(session[1].read(5, 1).empty());          // behind it: has no turn
    CHECK(disk.held.empty());
    Request read(Opcode::scsi_command, kRead);
    Peer& other = session[1];
    other.command(read, read_10(3, 1), 512);
    --other.cmd_sn;
    session.cmd_sn = other.cmd_sn;
    session.peers[0]->cmd_sn = other.cmd_sn;
    read.writer.be32(24, before);
    // It reaches the disk and is aborted there; the one behind the reset meets its attention.
    const auto replies = other.send(read);
    CHECK(has_sense(only(replies, Opcode::scsi_response), 6, 0x29, 0x03));
    CHECK(replies[0].bhs().itt() == other.itt - 1);
    CHECK(disk.held.size() == 1);
    CHECK(session[0].replies().empty());
    disk.complete_held();
    const auto pings = session[1].replies();
    CHECK(session[0].replies().empty());
    pong(session[1], only(pings, Opcode::nop_in), pings[0].be32(24));
    const auto answers = session[0].replies();
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].opcode() == Opcode::task_management_response);
    CHECK(answers[0].byte(2) == 0);
}

TEST_CASE("the fence of a LUN reset: what was sent before, the answer, what comes after") {
    World world;
    SessionPeers session(world, 3);
    CHECK(session[1].read(0, 1).size() == 1);
    CHECK(manage(session[0], kLunReset).empty());  // the status of that is not acknowledged
    const auto pings = session[1].replies();
    const Reply ping = only(pings, Opcode::nop_in);
    CHECK(session[2].replies().empty());                           // it was sent nothing
    CHECK(session[2].read(5, 1).empty());                          // answered after the reset
    CHECK(pong(session[1], ping, ping.be32(24) - 1).size() == 1);  // not yet: another ping
    CHECK(session[0].replies().empty());
    pong(session[1], Reply(ping), ping.be32(24));
    const auto answers = session[0].replies();
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].opcode() == Opcode::task_management_response);
    REQUIRE(answers[1].opcode() == Opcode::nop_in);
    CHECK(session[2].replies().empty());
    pong(session[0], answers[1], answers[0].be32(24) + 1);
    CHECK(has_sense(only(session[2].replies(), Opcode::scsi_response), 6, 0x29, 0x03));
    CHECK(session[2].read(5, 1).size() == 1);
}

TEST_CASE("a task set is aborted at the disk before its abort is answered, on any connection") {
    World world;
    SessionPeers session(world, 2);
    auto& disk = *world.link().disk;
    disk.hold = true;
    session[0].read(0, 1);
    session[1].read(0, 1);
    CHECK(manage(session[0], kAbortTaskSet).empty());
    CHECK(session[1].replies().empty());
    disk.complete_held();
    CHECK(session[1].replies().empty());
    const auto answers = session[0].replies();
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].opcode() == Opcode::task_management_response);
    CHECK(answers[1].opcode() == Opcode::nop_in);  // asks for its acknowledgement
    CHECK(world.link().device.tasks_in_flight() == 0);
}

TEST_CASE("a fence that nobody acknowledges ends the session in bounded time") {
    World world;
    SessionPeers session(world, 2);
    CHECK(session[1].read(0, 1).size() == 1);
    CHECK(manage(session[0], kLunReset).empty());
    session.tick(1'000);
    session.tick(1'000 + world.environment.ping_timeout_ms - 1);
    CHECK_FALSE(session[0].connection().closing());
    session.tick(1'000 + world.environment.ping_timeout_ms);
    CHECK(session[0].connection().closing());
    CHECK(session[1].connection().closing());
}

TEST_CASE("a target reset waits for no command before it: their CmdSN count as received") {
    World world;
    SessionPeers session(world, 1);
    const std::uint32_t lost = session.take_cmd_sn();
    CHECK(session[0].read(0, 1).empty());  // held
    check_management(manage(session[0], kWarmReset));
    CHECK(session[0].replies().empty());
    const std::uint32_t next = session[0].cmd_sn;
    session[0].cmd_sn = lost;
    CHECK(session.peers[0]->read(0, 1).empty());  // outside the window by now
    session.peers[0]->cmd_sn = next;
    session.cmd_sn = next;
    CHECK(has_sense(only(test_unit_ready(session[0]), Opcode::scsi_response), 6, 0x29, 0x03));
}

TEST_CASE("ABORT TASK may come on another connection than its task") {
    World world;
    SessionPeers session(world, 2);
    world.link().disk->hold = true;
    session[1].read(0, 1);
    CHECK(manage(session[0], kAbortTask, session[1].itt).empty());
    world.link().disk->complete_held();
    check_management(session[0].replies());
    CHECK(session[1].replies().empty());
}

TEST_CASE("ABORT TASK of a command that waits for its turn") {
    World world;
    SessionPeers session(world, 2);
    const std::uint32_t first = session.take_cmd_sn();
    const std::uint32_t held = session[1].cmd_sn;
    CHECK(session[1].read(0, 1).empty());
    check_management(manage(session[0], kAbortTask, session[1].itt, held));
    CHECK(session[1].read(0, 1).empty());
    Request missing(Opcode::nop_out, kFinal);
    missing.writer.itt(0x333).ttt(kReservedTag).be32(24, first);
    CHECK(session[0].send(missing).size() == 1);
    CHECK(only(session[1].replies(), Opcode::data_in).bhs().itt() == session[1].itt);
}

TEST_CASE("a reset is answered when the tasks of other sessions have left the disk too") {
    World world;
    Peer one(world), other(world);
    one.login();
    other.isid = 7;
    other.login();
    world.link().disk->hold = true;
    one.read(0, 1);
    const unsigned function = GENERATE(kClearTaskSet, kLunReset, kWarmReset);
    CHECK(manage(other, function).empty());
    world.link().disk->complete_held();
    check_management(other.replies());
    CHECK(one.replies().empty());
}

TEST_CASE("the connection that asked for an abort goes: its tasks' transfers go on") {
    World world;
    SessionPeers session(
        world, 2, {"MaxConnections=4", "InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=512"});
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = session[1].send(session[1].command(write, write_10(0, 2), 1024));
    const std::uint32_t itt = session[1].itt;
    session.take_cmd_sn();  // a gap that the request waits for
    CHECK(manage(session[0], kLunReset).empty());
    CHECK(data_out(session[1], itt, only(r2t, Opcode::r2t), pattern(512)).empty());
    CHECK(only(logout(session[0], 1, 10), Opcode::logout_response).byte(2) == 0);
    const auto more = session[1].replies();
    CHECK(only(more, Opcode::r2t).be32(40) == 512);
    CHECK(only(data_out(session[1], itt, more[0], pattern(512)), Opcode::scsi_response).byte(3) ==
          0);
}

TEST_CASE("requests that wait are bounded") {
    World world;
    Peer peer(world);
    peer.login({"InitialR2T=Yes", "ImmediateData=No"});
    Request write(Opcode::scsi_command, kWrite);
    only(peer.send(peer.command(write, write_10(0, 8), 4096)), Opcode::r2t);
    for (std::size_t i = 0; i < TaskManagement::kMaxPending; ++i)
        CHECK(manage(peer, kLunReset).empty());
    CHECK(only(manage(peer, kLunReset), Opcode::reject).byte(2) == 0x06);
}

TEST_CASE("a cold reset by one session that waits for another's tasks ends both") {
    World world;
    Peer one(world), other(world);
    one.login();
    other.isid = 7;
    other.login();
    world.link().disk->hold = true;
    one.read(0, 1);
    CHECK(manage(other, kColdReset).empty());
    CHECK(manage(one, kLunReset).empty());
    world.link().disk->complete_held();
    CHECK(one.connection().closing());
    CHECK(other.connection().closing());
    CHECK(other.replies().at(0).opcode() == Opcode::task_management_response);
}
