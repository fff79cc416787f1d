// What one initiator may take of a target, and for how long: time is an argument, nothing sleeps.
#include <catch2/catch.hpp>

#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kWrite = kFinal | kCommandWrite, kOperationalToFull = 0x87;

std::vector<Reply> begin_write(Peer& peer, std::uint16_t blocks) {
    Request request(Opcode::scsi_command, kWrite);
    return peer.send(peer.command(request, write_10(0, blocks), blocks * 512U));
}

// Data for what an R2T asks, `bytes` from the offset it names.
void send_data(Peer& peer, const Reply& r2t, std::uint32_t done, std::uint32_t bytes,
               std::uint32_t data_sn) {
    Request request(Opcode::data_out, 0);
    request.with(ByteVector(bytes, 'd'));
    request.writer.itt(r2t.bhs().itt())
        .ttt(r2t.be32(20))
        .be32(36, data_sn)
        .be32(40, r2t.be32(40) + done);
    peer.send(request);
}

std::uint16_t login_as(Peer& peer, const std::string& initiator) {
    const auto replies = peer.login_request(
        kOperationalToFull,
        pairs({"InitiatorName=" + initiator, "TargetName=" + std::string(World::kTarget)}));
    REQUIRE(replies.size() == 1);
    return replies[0].login_status();
}

}  // namespace

TEST_CASE("an initiator that sends none of a write's data is dropped after the stated time") {
    World world;
    world.environment.data_out_timeout_ms = 60'000;
    Peer peer(world), bystander(world);
    bystander.isid = 7;
    peer.login();
    bystander.login();
    peer.connection().tick(1'000);
    const auto replies = begin_write(peer, 8);
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == Opcode::r2t);
    peer.connection().tick(2'000);
    peer.connection().tick(61'500);
    CHECK_FALSE(peer.connection().closing());
    SECTION("silence") {
        peer.connection().tick(62'000);
        CHECK(peer.connection().closing());
        CHECK(world.environment.counters.slow_writers.get() == 1);
        peer.destroy_if_finished();
        CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::timeout});
    }
    SECTION("a part of it in time gives as long again") {
        send_data(peer, replies[0], 0, 512, 0);
        peer.connection().tick(62'000);
        peer.connection().tick(121'500);
        CHECK_FALSE(peer.connection().closing());
        peer.connection().tick(122'000);
        CHECK(peer.connection().closing());
    }
    SECTION("all of it ends the wait") {
        Request last(Opcode::data_out, kFinal);
        last.with(ByteVector(4096, 'd'));
        last.writer.itt(replies[0].bhs().itt()).ttt(replies[0].be32(20));
        const auto done = peer.send(last);
        REQUIRE_FALSE(done.empty());
        CHECK(done.back().opcode() == Opcode::scsi_response);  // after a ping of tick()
        // A PC in its boot menu answers nothing, and is left alone.
        for (std::uint64_t now_ms = 62'000; now_ms < 4'000'000; now_ms += 30'000)
            peer.connection().tick(now_ms);
        CHECK_FALSE(peer.connection().closing());
    }
    CHECK(bystander.read(0, 1).size() == 1);
}

TEST_CASE("an initiator name has a bounded number of sessions with a link") {
    World world;
    world.environment.max_sessions_per_initiator = 3;
    std::vector<std::unique_ptr<Peer>> peers;
    for (std::uint64_t isid = 1; isid <= 4; ++isid) {
        peers.push_back(std::make_unique<Peer>(world));
        peers.back()->isid = isid;
        CHECK(login_as(*peers.back(), "iqn.a:b") == (isid <= 3 ? 0 : 0x0302));
    }
    CHECK(world.environment.counters.session_limit_refusals.get() == 1);
    CHECK(world.refusals.size() == 1);
    Peer other(world);
    CHECK(login_as(other, "iqn.a:c") == 0);  // another name is not hurt
    // Coming back to a session of its own is not one more.
    Peer again(world);
    again.isid = 2;
    CHECK(again
              .login_request(
                  kOperationalToFull,
                  pairs({"InitiatorName=iqn.a:b", "TargetName=" + std::string(World::kTarget)}))
              .empty());
    peers[1]->destroy_if_finished();
    const auto late = again.replies();
    REQUIRE(late.size() == 1);
    CHECK(late[0].login_status() == 0);
    // And one that leaves makes room.
    peers[0]->disconnect();
    Peer fourth(world);
    fourth.isid = 4;
    CHECK(login_as(fourth, "iqn.a:b") == 0);
}

TEST_CASE("a session's buffers are bounded: more gets BUSY, and other sessions go on") {
    World world;
    Peer peer(world), bystander(world);
    bystander.isid = 7;
    peer.login();
    bystander.login();
    constexpr std::uint16_t kBlocks = 4096;  // 2 MiB
    constexpr std::size_t kFit = Session::kMaxBufferBytes / (kBlocks * 512U);
    for (std::size_t i = 0; i < kFit; ++i) {
        const auto replies = begin_write(peer, kBlocks);
        REQUIRE(replies.size() >= 1);
        REQUIRE(replies[0].opcode() == Opcode::r2t);
    }
    const auto refused = begin_write(peer, kBlocks);
    REQUIRE(refused.size() == 1);
    CHECK(refused[0].opcode() == Opcode::scsi_response);
    CHECK(refused[0].byte(3) == 0x08);
    CHECK(world.environment.buffers.out_bytes() <= Session::kMaxBufferBytes + (1U << 20));
    CHECK(begin_write(bystander, kBlocks)[0].opcode() == Opcode::r2t);
    // Small commands of the greedy one go on too.
    CHECK(peer.read(0, 1).size() == 1);
}

TEST_CASE("R2Ts are outstanding as negotiated, however large the write is") {
    World world;
    Peer peer(world);
    peer.login({"MaxOutstandingR2T=3", "MaxBurstLength=4096"});
    const auto replies = begin_write(peer, 4096);
    CHECK(replies.size() == 3);
    for (const Reply& reply : replies) CHECK(reply.opcode() == Opcode::r2t);
}
