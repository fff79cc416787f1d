// Bytes that change or end on the wire. Under digests nothing corrupt is ever acted on, and what
// happens instead is what RFC 7143 7.8 asks of ErrorRecoveryLevel 0: a bad header ends the
// session; bad data is rejected, and a task whose Data-Out was bad fails when all of it has come.
#include <catch2/catch.hpp>

#include "tests/unit/iscsi/session_peers.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kProtocolCrcAsc = 0x47, kProtocolCrcAscq = 0x05;
constexpr std::size_t kDataBytes = 512;

enum class Kind { nop, read, write_with_data, data_out, text, reset, log_out, end };

// A PDU of this kind, ready to be sent on a session that has begun what it needs.
ByteVector recorded(Peer& peer, Kind kind) {
    Request read(Opcode::scsi_command, kRead);
    Request write(Opcode::scsi_command, kWrite);
    const auto numbered = [&](Opcode opcode, std::uint8_t flags, ByteVector data) {
        Request request(opcode, flags);
        request.with(std::move(data));
        request.writer.itt(0x900).ttt(kReservedTag).be32(24, peer.cmd_sn++);
        return peer.encode(request);
    };
    switch (kind) {
        case Kind::nop:
            return numbered(Opcode::nop_out, kFinal, pattern(61));
        case Kind::read:
            return peer.encode(peer.command(read, read_10(1, 1), kDataBytes));
        case Kind::write_with_data:
            return peer.encode(
                peer.command(write, write_10(1, 1), kDataBytes).with(pattern(kDataBytes)));
        case Kind::data_out: {
            const auto r2t = peer.send(peer.command(write, write_10(1, 1), kDataBytes));
            Request out(Opcode::data_out, kFinal);
            out.with(pattern(kDataBytes));
            out.writer.itt(peer.itt).ttt(only(r2t, Opcode::r2t).be32(20));
            return peer.encode(out);
        }
        case Kind::text:
            return numbered(Opcode::text, kFinal,
                            {'S', 'e', 'n', 'd', 'T', 'a', 'r', 'g', 'e', 't', 's', '=', 0});
        case Kind::reset:
            return numbered(Opcode::task_management, kFinal | 5, {});
        case Kind::log_out:
            return numbered(Opcode::logout, kFinal, {});
        case Kind::end:
            break;
    }
    return {};
}

std::unique_ptr<Peer> session(World& world, std::size_t piece_bytes) {
    auto peer = std::make_unique<Peer>(world);
    peer->login({"HeaderDigest=CRC32C", "DataDigest=CRC32C", "InitialR2T=Yes"});
    REQUIRE(peer->header_digest);
    REQUIRE(peer->data_digest);
    peer->piece_bytes = piece_bytes;
    return peer;
}

bool untouched(World& world) {
    const auto& memory = world.link().disk->memory;
    return std::ranges::all_of(memory, [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace

TEST_CASE("any changed byte of a header ends the session, and nothing is done") {
    World world;
    const auto kind = static_cast<Kind>(GENERATE(range(0, static_cast<int>(Kind::end))));
    const std::size_t piece_bytes = GENERATE(0u, 5u);
    INFO("kind " << static_cast<int>(kind) << ", pieces of " << piece_bytes);
    for (std::size_t at = 0; at < kBhsBytes + kDigestBytes; ++at) {
        for (const int change : {0x01, 0x80, 0xff}) {
            INFO("byte " << at << " ^ " << change);
            auto peer = session(world, piece_bytes);
            ByteVector bytes = recorded(*peer, kind);
            bytes[at] ^= static_cast<std::uint8_t>(change);
            // A longer header than was sent takes in what follows; that cannot make it right.
            for (int i = 0; i < 12; ++i) {
                const ByteVector more = recorded(*peer, Kind::nop);
                bytes.insert(bytes.end(), more.begin(), more.end());
            }
            const std::uint64_t errors = world.environment.counters.digest_errors.get();
            const std::size_t ended = world.link().ended.size();
            peer->deliver(bytes);
            CHECK(peer->replies().empty());
            CHECK(peer->connection().closing());
            CHECK(world.environment.counters.digest_errors.get() == errors + 1);
            peer->destroy_if_finished();
            CHECK(peer->gone());
            CHECK(world.link().ended.size() == ended + 1);
            CHECK(world.link().ended.back() == SessionEnd::protocol_error);
        }
    }
    CHECK(untouched(world));
    CHECK(world.environment.buffers.out_bytes() == 0);
    CHECK(session(world, 0)->read(0, 1).size() == 1);  // the initiator logs in again
}

TEST_CASE("any changed byte of data, padding or data digest is rejected, and a retry succeeds") {
    World world;
    const Kind kind = GENERATE(Kind::nop, Kind::write_with_data, Kind::data_out, Kind::text);
    const std::size_t piece_bytes = GENERATE(0u, 5u);
    INFO("kind " << static_cast<int>(kind) << ", pieces of " << piece_bytes);
    auto peer = session(world, piece_bytes);
    const std::size_t size = recorded(*peer, kind).size();
    peer.reset();
    for (std::size_t at = kBhsBytes + kDigestBytes; at < size; ++at) {
        INFO("byte " << at);
        peer.reset();  // a login in its place would wait for its end
        peer = session(world, piece_bytes);
        const ByteVector good = recorded(*peer, kind);
        ByteVector bad = good;
        bad[at] ^= static_cast<std::uint8_t>(1U << (at % 8));
        peer->deliver(bad);
        const auto replies = peer->replies();
        REQUIRE(!replies.empty());
        CHECK(replies[0].opcode() == Opcode::reject);
        CHECK(replies[0].byte(2) == 0x02);
        CHECK(ByteVector(replies[0].data.begin(), replies[0].data.begin() + kBhsBytes) ==
              ByteVector(good.begin(), good.begin() + kBhsBytes));
        CHECK(world.link().disk->memory[kDataBytes + 1] == 0);
        if (kind == Kind::data_out) {
            REQUIRE(replies.size() == 2);
            CHECK(has_sense(replies[1], 0x0b, kProtocolCrcAsc, kProtocolCrcAscq));
        } else {
            // Discarded unseen: its CmdSN is still awaited.
            CHECK(replies.size() == 1);
            CHECK(replies[0].be32(28) == peer->cmd_sn - 1);
            peer->deliver(good);
            REQUIRE(peer->replies().size() == 1);
        }
        CHECK(peer->read(0, 1).size() == 1);
        CHECK_FALSE(peer->connection().closing());
        std::ranges::fill(world.link().disk->memory, std::uint8_t{0});
    }
    peer.reset();
    CHECK(world.environment.buffers.out_bytes() == 0);
}

TEST_CASE("one corrupt Data-Out of many: the task fails when the last has come") {
    World world;
    auto peer = session(world, 0);
    Request write(Opcode::scsi_command, kWrite);
    const auto r2t = peer->send(peer->command(write, write_10(1, 4), 4 * kDataBytes));
    only(r2t, Opcode::r2t);
    const std::uint32_t corrupt = GENERATE(0u, 1u, 3u);
    for (std::uint32_t i = 0; i < 4; ++i) {
        Request out(Opcode::data_out, i == 3 ? kFinal : std::uint8_t{0});
        out.with(pattern(kDataBytes));
        out.writer.itt(peer->itt).ttt(r2t[0].be32(20)).be32(36, i).be32(40, i * kDataBytes);
        ByteVector bytes = peer->encode(out);
        if (i == corrupt) bytes[100] ^= 4;
        peer->deliver(bytes);
        const auto replies = peer->replies();
        REQUIRE(replies.size() == (i == corrupt ? 1u : 0u) + (i == 3 ? 1u : 0u));
        if (i == corrupt) CHECK(replies[0].opcode() == Opcode::reject);
        if (i == 3) CHECK(has_sense(replies.back(), 0x0b, kProtocolCrcAsc, kProtocolCrcAscq));
    }
    CHECK(untouched(world));
}

TEST_CASE("a corrupt header on one connection ends the session on all") {
    World world;
    SessionPeers peers(world, 1, {"MaxConnections=4", "HeaderDigest=CRC32C", "DataDigest=CRC32C"});
    peers.add().login({"HeaderDigest=CRC32C"});
    ByteVector bytes = peers[1].encode(Request(Opcode::nop_out, kFinal));
    bytes[17] ^= 0x10;
    peers[1].deliver(bytes);
    CHECK(peers[1].connection().closing());
    CHECK(only(peers[0].replies(), Opcode::async_message).byte(36) == 3);
    CHECK(peers[0].connection().closing());
    for (const auto& peer : peers.peers) peer->destroy_if_finished();
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::protocol_error});
}

TEST_CASE("a connection cut at any byte: a write is stored as a whole or not at all") {
    World world;
    const auto kind = static_cast<Kind>(GENERATE(range(0, static_cast<int>(Kind::end))));
    INFO("kind " << static_cast<int>(kind));
    const bool writes = kind == Kind::write_with_data || kind == Kind::data_out;
    const ByteVector data = pattern(kDataBytes);
    const std::size_t size = recorded(*session(world, 0), kind).size();
    auto& memory = world.link().disk->memory;
    for (std::size_t until = 0; until <= size; ++until) {
        INFO("after " << until);
        auto peer = session(world, 0);
        const ByteVector bytes = recorded(*peer, kind);
        peer->deliver({bytes.data(), until});
        peer->disconnect();
        CHECK(peer->gone());
        CHECK(world.environment.sessions.size() == 0);
        CHECK(world.link().device.tasks_in_flight() == 0);
        const bool stored = std::equal(data.begin(), data.end(), memory.begin() + kDataBytes);
        CHECK(stored == (writes && until == size));
        if (!stored) CHECK(untouched(world));
        if (stored) std::ranges::fill(memory, std::uint8_t{0});
    }
    CHECK(world.environment.buffers.out_bytes() == 0);
}
