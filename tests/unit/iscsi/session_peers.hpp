// Several connections of one session, for tests: Peers that share CmdSN and ITT as an initiator's
// session does.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/iscsi/world.hpp"

namespace goldlink::iscsi::test {

struct SessionPeers {
    // Connections 0 to count - 1, CIDs 10, 11, ...
    SessionPeers(World& world_, std::size_t count,
                 std::initializer_list<std::string_view> keys = {"MaxConnections=4"})
        : world(world_) {
        peers.push_back(std::make_unique<Peer>(world));
        peers[0]->cid = 10;
        peers[0]->login(keys);
        cmd_sn = peers[0]->cmd_sn;
        itt = peers[0]->itt;
        while (peers.size() < count) add().login();
    }

    // Another Peer that means to join, or with `cid` to reinstate; not logged in.
    Peer& add(int cid = -1) {
        peers.push_back(std::make_unique<Peer>(world));
        Peer& peer = *peers.back();
        peer.isid = peers[0]->isid;
        peer.tsih = peers[0]->tsih;
        peer.cid = static_cast<std::uint16_t>(cid < 0 ? 9 + static_cast<int>(peers.size()) : cid);
        peer.clear_attention = false;
        peer.cmd_sn = cmd_sn;
        return peer;
    }

    // Connection `index`, about to send the next request of the session.
    Peer& operator[](std::size_t index) {
        for (const auto& peer : peers) {
            if (sn_less(cmd_sn, peer->cmd_sn)) cmd_sn = peer->cmd_sn;
            itt = std::max(itt, peer->itt);
        }
        for (const auto& peer : peers) {
            peer->cmd_sn = cmd_sn;
            peer->itt = itt;
        }
        return *peers[index];
    }

    // A CmdSN that is used by hand, or not at all.
    std::uint32_t take_cmd_sn() { return (*this)[0].cmd_sn++; }

    Session& session() {
        Session* found = world.environment.sessions.find_tsih(World::kTarget, peers[0]->initiator,
                                                              peers[0]->tsih);
        REQUIRE(found != nullptr);
        return *found;
    }

    void tick(std::uint64_t now_ms) {
        for (const auto& peer : peers)
            if (!peer->gone()) peer->connection().tick(now_ms);
    }

    World& world;
    std::vector<std::unique_ptr<Peer>> peers;
    std::uint32_t cmd_sn = 1;
    std::uint32_t itt = 1;
};

inline constexpr std::uint8_t kRead = kFinal | kCommandRead | 1;
inline constexpr std::uint8_t kWrite = kFinal | kCommandWrite | 1;

inline std::vector<Reply> manage(Peer& peer, unsigned function,
                                 std::uint32_t referenced = kReservedTag,
                                 std::uint32_t ref_cmd_sn = 0, std::uint64_t lun = 0) {
    Request request(Opcode::task_management, static_cast<std::uint8_t>(kFinal | function));
    request.immediate();
    request.writer.lun(lun)
        .itt(0x7000)
        .be32(20, referenced)
        .be32(24, peer.cmd_sn)
        .be32(32, ref_cmd_sn);
    return peer.send(request);
}

inline std::vector<Reply> nop(Peer& peer, std::uint32_t itt, ByteVector data = {}) {
    Request request(Opcode::nop_out, kFinal);
    request.with(std::move(data));
    request.writer.itt(itt).ttt(kReservedTag).be32(24, peer.cmd_sn++);
    return peer.send(request);
}

inline std::vector<Reply> logout(Peer& peer, std::uint8_t reason, std::uint16_t cid) {
    Request request(Opcode::logout, static_cast<std::uint8_t>(kFinal | reason));
    request.immediate();
    request.writer.itt(0x77).be16(20, cid).be32(24, peer.cmd_sn);
    return peer.send(request);
}

// Answers a ping, and acknowledges every status up to `exp_stat_sn`.
inline std::vector<Reply> pong(Peer& peer, const Reply& ping, std::uint32_t exp_stat_sn) {
    Request answer(Opcode::nop_out, kFinal);
    answer.immediate();
    answer.writer.itt(kReservedTag).ttt(ping.be32(20)).be32(24, peer.cmd_sn).be32(28, exp_stat_sn);
    return peer.send(answer);
}

inline const Reply& only(const std::vector<Reply>& replies, Opcode opcode) {
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == opcode);
    return replies[0];
}

inline void check_reject(const std::vector<Reply>& replies, std::uint8_t reason) {
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].byte(2) == reason);
    CHECK(replies[0].bhs().itt() == kReservedTag);
    CHECK(replies[0].data.size() >= kBhsBytes);
}

// A command that asks for nothing; its sense tells a unit attention.
inline std::vector<Reply> test_unit_ready(Peer& peer) {
    Request request(Opcode::scsi_command, kFinal | 1);
    return peer.send(peer.command(request, {}, 0));
}

inline bool has_sense(const Reply& reply, std::uint8_t key, std::uint8_t asc, std::uint8_t ascq) {
    return reply.opcode() == Opcode::scsi_response && reply.byte(3) == 0x02 &&
           reply.data.size() > 15 && (reply.data[4] & 15) == key && reply.data[14] == asc &&
           reply.data[15] == ascq;
}

}  // namespace goldlink::iscsi::test
