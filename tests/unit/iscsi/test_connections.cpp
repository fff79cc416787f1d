// Sessions of several connections (RFC 7143 3.3, 4.2.4, 6.3): what they share, what each has of its
// own, who may join, and how one goes.
#include <malloc.h>

#include <catch2/catch.hpp>

#include "tests/unit/iscsi/session_peers.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

TEST_CASE("two connections: one command stream, a StatSN each, answers where the command came") {
    World world;
    SessionPeers session(world, 2);
    CHECK(world.environment.sessions.size() == 1);
    CHECK(world.environment.counters.sessions.get() == 1);
    CHECK(world.link().started.size() == 1);
    std::array<std::uint32_t, 2> stat_sn{};
    for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t at = i % 3 == 0 ? 1 : 0;
        const auto replies = session[at].read(0, 1);
        const Reply& r = only(replies, Opcode::data_in);
        CHECK(r.be32(28) == session[at].cmd_sn);
        if (stat_sn[at] != 0) CHECK(r.be32(24) == stat_sn[at] + 1);
        stat_sn[at] = r.be32(24);
        CHECK(session[1 - at].replies().empty());
    }
    CHECK(stat_sn[0] != stat_sn[1]);
}

TEST_CASE("the login of a further connection is answered in the session's command stream") {
    World world;
    SessionPeers session(world, 1);
    for (int i = 0; i < 5; ++i) session[0].read(0, 1);
    const std::uint32_t expected = session[0].cmd_sn;
    Peer& second = session.add();
    second.cmd_sn = expected - 2;  // what the initiator knew when it began
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", second.initiator);
    append_pair(who, "TargetName", World::kTarget);
    const auto replies = second.login_request(0x87, who);
    const Reply& r = only(replies, Opcode::login_response);
    CHECK(r.login_status() == 0);
    CHECK(r.bhs().tsih() == second.tsih);
    CHECK(r.be32(28) == expected);
    CHECK(r.be32(32) == expected + Session::kCommandWindow - 1);
}

TEST_CASE("commands of all connections are executed in CmdSN order, and answered on their own") {
    World world;
    SessionPeers session(world, 3);
    const std::uint32_t first = session.take_cmd_sn();
    Request write(Opcode::scsi_command, kWrite);
    const ByteVector data = pattern(512);
    CHECK(session[1].send(session[1].command(write, write_10(7, 1), 512).with(data)).empty());
    CHECK(session[2].read(7, 1).empty());  // must see what connection 1 writes before it
    CHECK(world.link().disk->memory[7 * 512] == 0);
    Request missing(Opcode::nop_out, kFinal);
    missing.writer.itt(0x333).ttt(kReservedTag).be32(24, first);
    CHECK(only(session[0].send(missing), Opcode::nop_in).bhs().itt() == 0x333);
    CHECK(only(session[1].replies(), Opcode::scsi_response).byte(3) == 0);
    CHECK(only(session[2].replies(), Opcode::data_in).data == data);
}

TEST_CASE("held Data-Out follows its command when another connection fills the gap") {
    World world;
    SessionPeers session(world, 2, {"MaxConnections=4", "InitialR2T=No", "ImmediateData=Yes"});
    const std::uint32_t first = session.take_cmd_sn();
    Request write(Opcode::scsi_command, kCommandWrite | 1);
    const ByteVector data = pattern(2048);
    Peer& other = session[1];
    CHECK(other.send(other.command(write, write_10(0, 4), 2048)).empty());
    for (std::uint32_t i = 0; i < 4; ++i) {
        Request out(Opcode::data_out, i == 3 ? kFinal : std::uint8_t{0});
        out.with(ByteVector(data.begin() + i * 512, data.begin() + (i + 1) * 512));
        out.writer.itt(other.itt).ttt(kReservedTag).be32(36, i).be32(40, i * 512);
        CHECK(other.send(out).empty());
    }
    // A command whose immediate data is half here when the gap closes keeps that data.
    Request next(Opcode::scsi_command, kWrite);
    const ByteVector more = pattern(512, 9);
    const ByteVector bytes =
        session[1].encode(session[1].command(next, write_10(9, 1), 512).with(more));
    session[1].deliver({bytes.data(), 100});
    Request missing(Opcode::nop_out, kFinal);
    missing.writer.itt(0x333).ttt(kReservedTag).be32(24, first);
    CHECK(session[0].send(missing).size() == 1);
    CHECK(only(session[1].replies(), Opcode::scsi_response).byte(3) == 0);
    session[1].deliver(Bytes(bytes).subspan(100));
    CHECK(only(session[1].replies(), Opcode::scsi_response).byte(3) == 0);
    const auto& memory = world.link().disk->memory;
    CHECK(ByteVector(memory.begin(), memory.begin() + 2048) == data);
    CHECK(ByteVector(memory.begin() + 9 * 512, memory.begin() + 10 * 512) == more);
}

TEST_CASE("a command's R2T and data belong to its connection") {
    World world;
    SessionPeers session(world, 2, {"MaxConnections=4", "InitialR2T=Yes", "ImmediateData=No"});
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = session[1].send(session[1].command(write, write_10(0, 8), 4096));
    only(r2t, Opcode::r2t);
    CHECK(session[0].replies().empty());
    const ByteVector data = pattern(4096);
    const auto data_out = [&](std::size_t index) {
        Request out(Opcode::data_out, kFinal);
        out.with(data);
        out.writer.itt(session[1].itt).ttt(r2t[0].be32(20));
        return session[index].send(out);
    };
    CHECK(only(data_out(0), Opcode::reject).byte(2) == 0x04);
    CHECK(world.link().disk->memory[0] == 0);
    CHECK(only(data_out(1), Opcode::scsi_response).byte(3) == 0);
    CHECK(world.link().disk->memory[0] == data[0]);
}

TEST_CASE("an ITT names one task of the session, whatever the connection") {
    World world;
    SessionPeers session(world, 2);
    world.link().disk->hold = true;
    session[0].read(0, 1);
    const std::uint32_t taken = session[0].itt;
    session[1].itt = taken - 1;
    CHECK(only(session.peers[1]->read(0, 1), Opcode::reject).byte(2) == 0x07);
    world.link().disk->complete_held();
    CHECK(session[0].replies().size() == 1);
}

TEST_CASE("the window and what is held are the session's, not the connection's") {
    World world;
    SessionPeers session(world, 4);
    SECTION("window") {
        world.link().disk->hold = true;
        for (std::size_t i = 0; i < Session::kCommandWindow + 40; ++i) session[i % 4].read(0, 1);
        CHECK(world.link().disk->held.size() == Session::kCommandWindow);
        world.link().disk->complete_held();
        for (const auto& peer : session.peers) CHECK(peer->replies().size() == 32);
    }
    SECTION("held bytes") {
        session.take_cmd_sn();
        std::size_t refused = 0;
        for (std::size_t i = 0; i < 100; ++i) {
            Request request(Opcode::nop_out, kFinal);
            request.with(ByteVector(64 * 1024));
            request.writer.itt(static_cast<std::uint32_t>(900 + i))
                .ttt(kReservedTag)
                .be32(24, session.take_cmd_sn());
            refused += session[i % 4].send(request).size();
        }
        CHECK(refused == 100 - CommandOrder::kMaxHeldBytes / (64 * 1024));
    }
}

TEST_CASE("digests and lengths are a connection's own; the leading login's keys stand") {
    World world;
    SessionPeers session(world, 1,
                         {"MaxConnections=2", "MaxBurstLength=8192", "InitialR2T=Yes",
                          "ErrorRecoveryLevel=2", "HeaderDigest=CRC32C", "DataDigest=CRC32C"});
    REQUIRE(session[0].data_digest);
    Peer& second = session.add();
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", second.initiator);
    append_pair(who, "TargetName", World::kTarget);
    who += pairs({"MaxRecvDataSegmentLength=512", "HeaderDigest=None", "MaxConnections=2",
                  "MaxBurstLength=8192", "InitialR2T=Yes", "ErrorRecoveryLevel=2",
                  "FirstBurstLength=512", "DefaultTime2Wait=2"});
    const auto replies = second.login_request(0x87, who);
    const Reply& r = only(replies, Opcode::login_response);
    REQUIRE(r.login_status() == 0);
    CHECK(r.value("HeaderDigest") == "None");
    CHECK(r.value("MaxConnections") == "2");
    CHECK(r.value("MaxBurstLength") == "8192");
    CHECK(r.value("InitialR2T") == "Yes");
    CHECK(r.value("ErrorRecoveryLevel") == "0");
    CHECK(r.value("FirstBurstLength") == "Reject");  // 65536 is in force
    CHECK(r.value("DefaultTime2Wait") == "2");
    CHECK(session[1].read(0, 4).size() == 4);  // 512 bytes each
    CHECK(session[0].read(0, 4).size() == 1);
}

TEST_CASE("who may not join, and why") {
    struct Row {
        const char* what;
        std::uint64_t isid;
        int tsih;  // beyond the session's
        const char* initiator;
        std::uint16_t status;
    };
    const auto row = GENERATE(values<Row>({
        {"unknown TSIH", 0x400001370000, 77, "iqn.1993-08.org.debian:01:test", 0x020a},
        {"another port's ISID", 0x400001370001, 0, "iqn.1993-08.org.debian:01:test", 0x020a},
        {"another initiator", 0x400001370000, 0, "iqn.1993-08.org.debian:01:other", 0x020a},
        {"one too many", 0x400001370000, 0, "iqn.1993-08.org.debian:01:test", 0x0206},
    }));
    INFO(row.what);
    World world;
    SessionPeers session(world, 2, {"MaxConnections=2"});
    Peer& late = session.add();
    late.isid = row.isid;
    late.tsih = static_cast<std::uint16_t>(late.tsih + row.tsih);
    late.initiator = row.initiator;
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", late.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(only(late.login_request(0x87, who), Opcode::login_response).login_status() == row.status);
    CHECK(late.connection().closing());
    CHECK_FALSE(session[0].connection().closing());
    CHECK(session[1].read(0, 1).size() == 1);
}

TEST_CASE("a discovery session has one connection") {
    World world;
    SessionPeers session(world, 1);
    Peer& late = session.add();
    std::string who = pairs({"SessionType=Discovery"});
    append_pair(who, "InitiatorName", late.initiator);
    CHECK(only(late.login_request(0x87, who), Opcode::login_response).login_status() == 0x020a);
}

TEST_CASE("four connections, if the initiator asks for so many") {
    World world;
    SessionPeers session(world, 4, {"MaxConnections=32"});
    Peer& fifth = session.add();
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", fifth.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(only(fifth.login_request(0x87, who), Opcode::login_response).login_status() == 0x0206);
    for (std::size_t i = 0; i < 4; ++i) CHECK(session[i].read(0, 1).size() == 1);
}

TEST_CASE("a further connection needs the link's credential as the first one did") {
    World world;
    SessionPeers session(world, 1);
    world.entry().credentials = {{"alice", "twelve-chars", "", "", 0}};
    Peer& late = session.add();
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", late.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(only(late.login_request(0x87, who), Opcode::login_response).login_status() == 0x0201);
}

// --- How a connection goes ---

TEST_CASE("connection reinstatement: the session goes on, its lost commands are told of") {
    World world;
    SessionPeers session(world, GENERATE(1u, 2u));
    world.link().disk->hold = true;
    session[0].read(0, 1);
    Peer& again = session.add(10);
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", again.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(again.login_request(0x87, who).empty());  // the disk still has a command of the old one
    CHECK(session.peers[0]->connection().closing());
    world.link().disk->complete_held();
    session.peers[0]->destroy_if_finished();
    CHECK(session.peers[0]->gone());
    CHECK(only(again.replies(), Opcode::login_response).login_status() == 0);
    CHECK(world.link().ended.empty());
    CHECK(world.link().started.size() == 1);
    const std::size_t last = session.peers.size() - 1;
    CHECK(has_sense(only(test_unit_ready(session[last]), Opcode::scsi_response), 6, 0x47, 0x7f));
    CHECK(session[last].read(0, 1).size() == 1);
    CHECK(world.environment.sessions.size() == 1);
}

TEST_CASE("a reinstatement whose session ends meanwhile is refused") {
    World world;
    SessionPeers session(world, 2);
    world.link().disk->hold = true;
    session[0].read(0, 1);
    Peer& again = session.add(10);
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", again.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(again.login_request(0x87, who).empty());
    world.link().live.at(0)->end(SessionEnd::generation_ended);
    world.link().disk->complete_held();
    session.peers[0]->destroy_if_finished();
    CHECK(only(again.replies(), Opcode::login_response).login_status() == 0x020a);
    CHECK(session.peers[1]->connection().closing());
    session.peers[1]->destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::generation_ended});
    CHECK(world.environment.sessions.size() == 0);
}

TEST_CASE("session reinstatement ends every connection of the session") {
    World world;
    SessionPeers session(world, 3);
    world.link().disk->hold = true;
    session[2].read(0, 1);
    Peer fresh(world);
    std::string who = pairs({"SessionType=Normal"});
    append_pair(who, "InitiatorName", fresh.initiator);
    append_pair(who, "TargetName", World::kTarget);
    CHECK(fresh.login_request(0x87, who).empty());
    for (const auto& peer : session.peers) {
        CHECK(peer->connection().closing());
        peer->destroy_if_finished();
    }
    CHECK_FALSE(session.peers[2]->gone());
    CHECK(fresh.replies().empty());
    world.link().disk->complete_held();
    session.peers[2]->destroy_if_finished();
    CHECK(only(fresh.replies(), Opcode::login_response).login_status() == 0);
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::reinstated});
}

TEST_CASE(
    "ErrorRecoveryLevel 0: with one connection lost the session is, and the others are told") {
    World world;
    SessionPeers session(world, 3);
    world.link().disk->hold = true;
    session[0].read(0, 1);
    session[1].read(0, 1);
    session[1].connection().transport_lost(SessionEnd::connection_lost);
    for (const std::size_t i : {0u, 2u}) {
        const auto told = session.peers[i]->replies();
        CHECK(only(told, Opcode::async_message).byte(36) == 3);
        CHECK(session.peers[i]->connection().closing());
    }
    session.peers[2]->destroy_if_finished();
    CHECK(session.peers[2]->gone());
    CHECK(world.link().ended.empty());  // the disk still has its commands
    world.link().disk->complete_held();
    for (const std::size_t i : {0u, 1u}) {
        CHECK(session.peers[i]->replies().empty());
        session.peers[i]->destroy_if_finished();
    }
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::connection_lost});
}

TEST_CASE("logout of one connection leaves the others, from wherever it is asked") {
    World world;
    SessionPeers session(world, 3);
    world.link().disk->hold = true;
    session[1].read(0, 1);
    const std::size_t from = GENERATE(0u, 1u);
    CHECK(logout(session[from], 1, 11).empty());  // the disk still has its command
    world.link().disk->complete_held();
    CHECK(only(session.peers[from]->replies(), Opcode::logout_response).byte(2) == 0);
    CHECK(session.peers[1]->connection().closing());
    session.peers[1]->destroy_if_finished();
    CHECK(session.peers[1]->gone());
    CHECK(has_sense(only(test_unit_ready(session[0]), Opcode::scsi_response), 6, 0x47, 0x7f));
    CHECK(session[2].read(0, 1).size() == 1);
    CHECK(only(logout(session[0], 1, 11), Opcode::logout_response).byte(2) == 1);
    CHECK(only(logout(session[0], 2, 12), Opcode::logout_response).byte(2) == 2);
    CHECK(world.link().ended.empty());
    CHECK(only(logout(session[0], 1, 10), Opcode::logout_response).byte(2) == 0);
    CHECK_FALSE(session.peers[2]->connection().closing());
    CHECK(only(logout(session[2], 1, 12), Opcode::logout_response).byte(2) == 0);
    for (const auto& peer : session.peers) peer->destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::logout});
}

TEST_CASE("logout of the session ends all connections, when the disk has done with its tasks") {
    World world;
    SessionPeers session(world, 3);
    world.link().disk->hold = true;
    session[1].read(0, 1);
    CHECK(logout(session[2], 0, 0).empty());
    CHECK(session[1].connection().closing());
    CHECK_FALSE(session[2].connection().closing());
    CHECK(session[2].read(0, 1).empty());  // nothing is taken after a Logout
    world.link().disk->complete_held();
    CHECK(only(session[2].replies(), Opcode::logout_response).byte(2) == 0);
    for (const auto& peer : session.peers) {
        CHECK(peer->connection().closing());
        peer->destroy_if_finished();
    }
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::logout});
}

TEST_CASE("what a logged-out connection had sent ahead of a gap counts as received") {
    World world;
    SessionPeers session(world, 2);
    const std::uint32_t first = session.take_cmd_sn();
    CHECK(session[1].read(0, 1).empty());
    CHECK(session[0].read(0, 1).empty());
    CHECK(only(logout(session[1], 1, 11), Opcode::logout_response).byte(2) == 0);
    Request missing(Opcode::nop_out, kFinal);
    missing.writer.itt(0x333).ttt(kReservedTag).be32(24, first);
    const auto replies = session[0].send(missing);
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].opcode() == Opcode::nop_in);
    CHECK(replies[1].opcode() == Opcode::data_in);
    CHECK(replies[1].be32(28) == session[0].cmd_sn);
}

TEST_CASE("each connection is pinged for itself; the one that falls silent ends the session") {
    World world;
    SessionPeers session(world, 2);
    session.tick(1'000);
    session.tick(3'000);
    const auto first = session[0].replies();
    const auto second = session[1].replies();
    CHECK(pong(session[0], only(first, Opcode::nop_in), 2).empty());
    CHECK(pong(session[1], only(second, Opcode::nop_in), 2).empty());
    for (std::uint64_t now = 4'000; now < 39'000; now += 1'000) {
        session[0].read(0, 1);
        session.tick(now);
        CHECK_FALSE(session[1].connection().closing());
    }
    CHECK(only(session[1].replies(), Opcode::nop_in).bhs().itt() == kReservedTag);
    session.tick(39'000);
    CHECK(session[1].connection().closing());
    CHECK(session[0].connection().closing());
    CHECK(only(session[0].replies(), Opcode::async_message).byte(36) == 3);
    for (const auto& peer : session.peers) peer->destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::timeout});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their malloc does not count
TEST_CASE("a further idle connection costs less than 16 KiB") {
    World world;
    SessionPeers session(world, 2);  // what all share is there now
    const std::size_t before = ::mallinfo2().uordblks;
    session.add().login();
    session.add().login();
    const std::size_t each = (::mallinfo2().uordblks - before) / 2;
    INFO(each << " bytes a connection");
    CHECK(each > sizeof(SessionConnection));
    CHECK(each < 16 * 1024);
}
#endif
