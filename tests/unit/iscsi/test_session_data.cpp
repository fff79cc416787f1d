#include <catch2/catch.hpp>

#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kRead = kFinal | kCommandRead | 1;
constexpr std::uint8_t kWrite = kFinal | kCommandWrite | 1;
constexpr std::uint8_t kWriteMore = kCommandWrite | 1;  // unsolicited data follows

struct Rig {
    explicit Rig(std::initializer_list<std::string_view> keys = {"InitialR2T=No"}) {
        peer.login(keys);
    }

    std::vector<Reply> data_out(std::uint32_t ttt, std::uint32_t data_sn, std::uint32_t offset,
                                ByteVector data, bool final) {
        Request request(Opcode::data_out, final ? kFinal : std::uint8_t{0});
        request.with(std::move(data));
        request.writer.itt(peer.itt).ttt(ttt).be32(36, data_sn).be32(40, offset);
        return peer.send(request);
    }
    std::vector<Reply> write(std::uint8_t flags, std::uint16_t blocks, ByteVector immediate,
                             std::uint32_t length) {
        Request request(Opcode::scsi_command, flags);
        peer.command(request, write_10(8, blocks), length).with(std::move(immediate));
        return peer.send(request);
    }
    ByteVector stored(std::size_t bytes) {
        const auto begin = world.link().disk->memory.begin() + 8 * 512;
        return {begin, begin + static_cast<std::ptrdiff_t>(bytes)};
    }

    World world;
    Peer peer{world};
};

void check_good(const std::vector<Reply>& replies) {
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::scsi_response);
    CHECK(replies[0].byte(3) == 0);
    CHECK(replies[0].flags() == kFinal);
}

void check_sense(const std::vector<Reply>& replies, std::uint8_t key, std::uint8_t asc,
                 std::uint8_t ascq) {
    REQUIRE_FALSE(replies.empty());
    const Reply& r = replies.back();
    REQUIRE(r.opcode() == Opcode::scsi_response);
    REQUIRE(r.byte(3) == 0x02);
    REQUIRE(r.data.size() >= 2 + 14);
    CHECK(load_be16(r.data.data()) == r.data.size() - 2);
    CHECK((r.data[2 + 2] & 0x0f) == key);
    CHECK(r.data[2 + 12] == asc);
    CHECK(r.data[2 + 13] == ascq);
}

ByteVector slice(const ByteVector& all, std::size_t from, std::size_t bytes) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(from);
    return {begin, begin + static_cast<std::ptrdiff_t>(bytes)};
}

}  // namespace

TEST_CASE("a read comes with its status in the last Data-In") {
    Rig rig;
    auto& memory = rig.world.link().disk->memory;
    const auto content = pattern(4096);
    std::copy(content.begin(), content.end(), memory.begin() + 512);
    const auto replies = rig.peer.read(1, 8);
    REQUIRE(replies.size() == 1);
    const Reply& r = replies[0];
    CHECK(r.opcode() == Opcode::data_in);
    CHECK(r.flags() == (kFinal | kDataInStatus));
    CHECK(r.byte(3) == 0);
    CHECK(r.bhs().itt() == rig.peer.itt);
    CHECK(r.be32(20) == kReservedTag);
    CHECK(r.be32(28) == rig.peer.cmd_sn);
    CHECK(r.be32(32) == rig.peer.cmd_sn + Session::kCommandWindow - 1);
    CHECK(r.be32(36) == 0);
    CHECK(r.be32(40) == 0);
    CHECK(r.data == content);
    CHECK(rig.world.environment.counters.data_in_bytes.get() == 4096);
}

TEST_CASE("long reads are cut by the initiator's segment length, sequences by MaxBurstLength") {
    Rig rig({"MaxRecvDataSegmentLength=8192", "MaxBurstLength=20480"});
    const auto content = pattern(65536);
    std::copy(content.begin(), content.end(), rig.world.link().disk->memory.begin());
    const auto replies = rig.peer.read(0, 128);
    ByteVector all;
    std::uint32_t burst = 0;
    for (std::size_t i = 0; i < replies.size(); ++i) {
        const Reply& r = replies[i];
        REQUIRE(r.opcode() == Opcode::data_in);
        CHECK(r.be32(36) == i);
        CHECK(r.be32(40) == all.size());
        CHECK(r.data.size() <= 8192);
        burst += static_cast<std::uint32_t>(r.data.size());
        const bool last = i + 1 == replies.size();
        CHECK(burst <= 20480);
        CHECK(((r.flags() & kFinal) != 0) == (burst == 20480 || last));
        CHECK(((r.flags() & kDataInStatus) != 0) == last);
        if ((r.flags() & kFinal) != 0) burst = 0;
        all.insert(all.end(), r.data.begin(), r.data.end());
    }
    CHECK(all == content);
}

TEST_CASE("residuals are exact, both ways") {
    Rig rig;
    const auto run = [&](std::uint8_t flags, std::array<std::uint8_t, 16> cdb,
                         std::uint32_t length) {
        Request request(Opcode::scsi_command, flags);
        auto replies = rig.peer.send(rig.peer.command(request, cdb, length));
        REQUIRE_FALSE(replies.empty());
        return replies.back();
    };
    Reply r = run(kRead, read_10(0, 2), 1024 + 100);
    CHECK((r.flags() & 0x06) == kUnderflow);
    CHECK(r.be32(44) == 100);
    CHECK(r.data.size() == 1024);
    r = run(kRead, read_10(0, 2), 1000);
    CHECK((r.flags() & 0x06) == kOverflow);
    CHECK(r.be32(44) == 24);
    CHECK(r.data.size() == 1000);
    r = run(kFinal | 1, read_10(0, 2), 0);  // no room at all
    CHECK(r.opcode() == Opcode::scsi_response);
    CHECK((r.flags() & 0x06) == kOverflow);
    CHECK(r.be32(44) == 1024);
    r = run(kRead, {}, 512);  // TEST UNIT READY
    CHECK(r.opcode() == Opcode::scsi_response);
    CHECK((r.flags() & 0x06) == kUnderflow);
    CHECK(r.be32(44) == 512);
}

TEST_CASE("a failed command carries sense data") {
    Rig rig;
    check_sense(rig.peer.read(0xffffff, 1), 0x05, 0x21, 0x00);
}

TEST_CASE("a write with all its data immediate") {
    Rig rig;
    const auto data = pattern(4096);
    for (const std::size_t piece : {0UL, 1UL, 50UL, 1000UL}) {
        rig.peer.piece_bytes = piece;
        std::fill(rig.world.link().disk->memory.begin(), rig.world.link().disk->memory.end(), 0);
        check_good(rig.write(kWrite, 8, data, 4096));
        CHECK(rig.stored(4096) == data);
    }
    CHECK(rig.world.link().first_writes == 1);
    CHECK(rig.world.environment.counters.data_out_bytes.get() == 4 * 4096);
}

TEST_CASE("solicited writes: R2T as the RFC and Windows want it") {
    Rig rig({"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=4096", "MaxOutstandingR2T=1"});
    const auto data = pattern(10 * 512);
    auto replies = rig.write(kWrite, 10, {}, 5120);
    REQUIRE(replies.size() == 1);
    const Reply first = replies[0];
    CHECK(first.opcode() == Opcode::r2t);
    CHECK(first.flags() == 0x80);
    CHECK(first.bhs().itt() == rig.peer.itt);
    CHECK(first.be32(20) != kReservedTag);
    CHECK(first.be32(36) == 0);
    CHECK(first.be32(40) == 0);
    CHECK(first.be32(44) == 4096);
    CHECK(rig.data_out(first.be32(20), 0, 0, slice(data, 0, 2048), false).empty());
    replies = rig.data_out(first.be32(20), 1, 2048, slice(data, 2048, 2048), true);
    REQUIRE(replies.size() == 1);
    const Reply second = replies[0];
    CHECK(second.opcode() == Opcode::r2t);
    CHECK(second.be32(36) == 1);
    CHECK(second.be32(40) == 4096);
    CHECK(second.be32(44) == 1024);
    CHECK(second.be32(20) != first.be32(20));
    CHECK(second.be32(24) == first.be32(24));  // R2T takes no StatSN
    replies = rig.data_out(second.be32(20), 0, 4096, slice(data, 4096, 1024), true);
    check_good(replies);
    CHECK(replies[0].be32(36) == 2);  // ExpDataSN: two R2Ts
    CHECK(replies[0].be32(24) == second.be32(24));
    CHECK(rig.stored(5120) == data);
}

TEST_CASE("several R2Ts at once, as negotiated") {
    Rig rig({"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=512", "MaxOutstandingR2T=3"});
    const auto data = pattern(5 * 512);
    auto replies = rig.write(kWrite, 5, {}, 2560);
    REQUIRE(replies.size() == 3);
    std::vector<std::uint32_t> tags;
    for (std::size_t sent = 0; sent < 5; ++sent) {
        for (const Reply& r : replies) {
            REQUIRE(r.opcode() == Opcode::r2t);
            CHECK(r.be32(40) == 512 * tags.size());
            tags.push_back(r.be32(20));
        }
        const auto offset = static_cast<std::uint32_t>(512 * sent);
        replies = rig.data_out(tags.at(sent), 0, offset, slice(data, offset, 512), true);
    }
    check_good(replies);
    CHECK(rig.stored(2560) == data);
}

TEST_CASE("immediate, then unsolicited, then solicited data") {
    Rig rig({"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=2048", "MaxBurstLength=4096"});
    const auto data = pattern(4096);
    CHECK(rig.write(kWriteMore, 8, slice(data, 0, 512), 4096).empty());
    CHECK(rig.data_out(kReservedTag, 0, 512, slice(data, 512, 512), false).empty());
    auto replies = rig.data_out(kReservedTag, 1, 1024, slice(data, 1024, 1024), true);
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::r2t);
    CHECK(replies[0].be32(40) == 2048);
    CHECK(replies[0].be32(44) == 2048);
    check_good(rig.data_out(replies[0].be32(20), 0, 2048, slice(data, 2048, 2048), true));
    CHECK(rig.stored(4096) == data);
}

TEST_CASE("data straight into the command's buffer, in pieces and with digests") {
    Rig rig({"InitialR2T=No", "HeaderDigest=CRC32C", "DataDigest=CRC32C"});
    REQUIRE(rig.peer.data_digest);
    const auto data = pattern(65536);
    rig.peer.piece_bytes = 3333;
    CHECK(rig.write(kWriteMore, 128, slice(data, 0, 8192), 65536).empty());
    check_good(rig.data_out(kReservedTag, 0, 8192, slice(data, 8192, 65536 - 8192), true));
    CHECK(rig.stored(65536) == data);
    CHECK(rig.peer.read(8, 128).size() > 1);  // and digests of ours were checked by the peer
}

TEST_CASE("writes shorter and longer than the command takes") {
    Rig rig;
    const auto data = pattern(2048);
    auto replies = rig.write(kWrite, 2, data, 2048);  // the CDB takes 1024
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].flags() == (kFinal | kUnderflow));
    CHECK(replies[0].be32(44) == 1024);
    CHECK(rig.stored(1024) == slice(data, 0, 1024));
    replies = rig.write(kWrite, 8, data, 2048);  // the CDB takes 4096
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].flags() == (kFinal | kOverflow));
    CHECK(replies[0].be32(44) == 2048);
    CHECK(rig.stored(2048) == data);
}

TEST_CASE("an early error waits for the unsolicited data before it is told") {
    Rig rig;
    Request request(Opcode::scsi_command, kWriteMore);
    rig.peer.command(request, write_10(0xffffff, 8), 4096).with(pattern(512));
    CHECK(rig.peer.send(request).empty());
    CHECK(rig.data_out(kReservedTag, 0, 512, pattern(512), false).empty());
    check_sense(rig.data_out(kReservedTag, 1, 1024, pattern(3072), true), 0x05, 0x21, 0x00);
    CHECK(rig.peer.read(0, 1).size() == 1);
}

TEST_CASE("data that breaks the rules fails its command, not the session") {
    Rig rig({"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=1024"});
    auto replies = rig.write(kWrite, 4, {}, 2048);
    REQUIRE(replies.size() == 1);
    const std::uint32_t tag = replies[0].be32(20);
    SECTION("wrong DataSN") {
        check_sense(rig.data_out(tag, 1, 0, pattern(1024), true), 0x0b, 0x4b, 0);
    }
    SECTION("wrong offset") {
        check_sense(rig.data_out(tag, 0, 512, pattern(512), true), 0x0b, 0x4b, 0);
    }
    SECTION("offset far out") {
        check_sense(rig.data_out(tag, 0, 0xfffffe00, pattern(1024), true), 0x0b, 0x4b, 0);
    }
    SECTION("more than asked for") {
        check_sense(rig.data_out(tag, 0, 0, pattern(2048), true), 0x0b, 0x0c, 0x0d);
    }
    SECTION("less than asked for") {
        check_sense(rig.data_out(tag, 0, 0, pattern(512), true), 0x0b, 0x0c, 0x0d);
    }
    SECTION("a wrong transfer tag is rejected and changes nothing") {
        replies = rig.data_out(tag ^ 1, 0, 0, pattern(1024), true);
        REQUIRE(replies.size() == 1);
        CHECK(replies[0].opcode() == Opcode::reject);
        replies = rig.data_out(tag, 0, 0, pattern(1024), true);
        REQUIRE(replies.size() == 1);
        CHECK(replies[0].opcode() == Opcode::r2t);
        check_good(rig.data_out(replies[0].be32(20), 0, 1024, pattern(1024), true));
    }
    CHECK(rig.data_out(tag, 0, 0, pattern(1024), true).empty());  // too late: dropped
    CHECK(rig.peer.read(0, 1).size() == 1);
}

// Its data segment has no address; the sanitizers and the fuzzer found that it was copied from.
TEST_CASE("an empty Data-Out moves nothing and ends its sequence") {
    Rig rig;
    const auto data = pattern(4096);
    CHECK(rig.write(kWriteMore, 8, slice(data, 0, 512), 4096).empty());
    CHECK(rig.data_out(kReservedTag, 0, 512, {}, false).empty());
    auto replies = rig.data_out(kReservedTag, 1, 512, {}, true);
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == Opcode::r2t);
    CHECK(replies[0].be32(40) == 512);
    check_good(rig.data_out(replies[0].be32(20), 0, 512, slice(data, 512, 3584), true));
    CHECK(rig.stored(4096) == data);
}

TEST_CASE("immediate data that was not agreed") {
    Rig rig({"InitialR2T=Yes", "ImmediateData=No"});
    check_sense(rig.write(kWrite, 8, pattern(512), 4096), 0x0b, 0x0c, 0x0c);
    const auto replies = rig.write(kWriteMore, 8, {}, 4096);
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].byte(2) == 0x09);
}

TEST_CASE("a corrupt data segment is rejected and fails its task once all data has come") {
    Rig rig({"InitialR2T=No", "DataDigest=CRC32C", "FirstBurstLength=4096"});
    CHECK(rig.write(kWriteMore, 8, pattern(512), 4096).empty());
    Request request(Opcode::data_out, 0);
    request.with(pattern(512));
    request.writer.itt(rig.peer.itt).ttt(kReservedTag).be32(36, 0).be32(40, 512);
    ByteVector bytes = rig.peer.encode(request);
    bytes[kBhsBytes] ^= 0x10;
    rig.peer.deliver(bytes);
    auto replies = rig.peer.replies();
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].byte(2) == 0x02);
    CHECK(replies[0].data.size() == kBhsBytes);
    CHECK(replies[0].data[0] == 0x05);
    check_sense(rig.data_out(kReservedTag, 1, 1024, pattern(3072), true), 0x0b, 0x47, 0x05);
    CHECK(rig.world.environment.counters.digest_errors.get() == 1);
    CHECK(rig.stored(512) == ByteVector(512, 0));
}

TEST_CASE("a command with corrupt immediate data can be sent again with its CmdSN") {
    Rig rig({"InitialR2T=No", "DataDigest=CRC32C"});
    Request request(Opcode::scsi_command, kWrite);
    const auto data = pattern(4096);
    rig.peer.command(request, write_10(8, 8), 4096).with(data);
    ByteVector bytes = rig.peer.encode(request);
    bytes[kBhsBytes + 7] ^= 1;
    rig.peer.deliver(bytes);
    auto replies = rig.peer.replies();
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].be32(28) == request.cmd_sn());
    // Commands behind the gap wait, their data with them.
    Request later(Opcode::scsi_command, kRead);
    CHECK(rig.peer.send(rig.peer.command(later, read_10(8, 8), 4096)).empty());
    replies = rig.peer.send(request);
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].opcode() == Opcode::scsi_response);
    CHECK(replies[1].opcode() == Opcode::data_in);
    CHECK(replies[1].data == data);
}

TEST_CASE("a write that waits behind a gap keeps its unsolicited data") {
    Rig rig({"InitialR2T=No", "FirstBurstLength=4096"});
    const std::uint32_t gap = rig.peer.cmd_sn++;
    const auto data = pattern(4096);
    CHECK(rig.write(kWriteMore, 8, slice(data, 0, 512), 4096).empty());
    CHECK(rig.data_out(kReservedTag, 0, 512, slice(data, 512, 3584), true).empty());
    Request filler(Opcode::scsi_command, kRead);
    const std::uint32_t next = rig.peer.cmd_sn;
    rig.peer.cmd_sn = gap;
    const std::uint32_t write_itt = rig.peer.itt;
    const auto replies = rig.peer.send(rig.peer.command(filler, read_10(0, 1), 512));
    rig.peer.cmd_sn = next;
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].opcode() == Opcode::data_in);
    CHECK(replies[1].opcode() == Opcode::scsi_response);
    CHECK(replies[1].bhs().itt() == write_itt);
    CHECK(rig.stored(4096) == data);
    CHECK(replies[1].be32(28) == next);
}

TEST_CASE("long output is flushed early and pauses input at its bound") {
    Rig rig({"MaxRecvDataSegmentLength=262144"});
    Request request(Opcode::scsi_command, kRead);
    rig.peer.deliver(rig.peer.encode(rig.peer.command(request, read_10(0, 2048), 1U << 20)));
    CHECK(rig.peer.flushes > 0);
    int commands = 1;
    while (!rig.peer.connection().input_paused() && commands < 100) {
        Request more(Opcode::scsi_command, kRead);
        rig.peer.deliver(rig.peer.encode(rig.peer.command(more, read_10(0, 2048), 1U << 20)));
        ++commands;
    }
    CHECK(commands == 4);  // one above 4 MiB with headers
    rig.peer.replies();
    CHECK_FALSE(rig.peer.connection().input_paused());
}

TEST_CASE("no memory for data is BUSY, and passes") {
    Rig rig;
    rig.world.environment.buffers.set_max_out_bytes(8192);
    const auto replies = rig.peer.read(0, 128);
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::scsi_response);
    CHECK(replies[0].byte(3) == 0x08);
    CHECK(rig.peer.read(0, 8).at(0).opcode() == Opcode::data_in);
    rig.world.environment.buffers.set_max_out_bytes(1U << 30);
    CHECK(rig.peer.read(0, 128).back().flags() == (kFinal | kDataInStatus));
}

TEST_CASE("additional header segments: a long CDB is refused by the device, rubbish by us") {
    Rig rig;
    Request rubbish(Opcode::scsi_command, kRead);
    rig.peer.command(rubbish, read_10(0, 1), 512);
    rubbish.ahs = {0, 9, 7, 0};
    auto replies = rig.peer.send(rubbish);
    REQUIRE(replies.size() == 1);
    CHECK(replies[0].opcode() == Opcode::reject);
    CHECK(replies[0].data.size() == kBhsBytes + 4);
    Request extended(Opcode::scsi_command, kRead);
    std::array<std::uint8_t, 16> cdb{0x7f};
    rig.peer.command(extended, cdb, 512);
    extended.ahs = {0, 17, 1, 0};
    extended.ahs.resize(20);
    check_sense(rig.peer.send(extended), 0x05, 0x20, 0x00);
}

TEST_CASE("commands that the disk completes later are answered then") {
    Rig rig;
    rig.world.link().disk->hold = true;
    CHECK(rig.peer.read(0, 1).empty());
    CHECK(rig.peer.read(1, 1).empty());
    rig.peer.pending = 0;
    rig.world.link().disk->complete_held();
    CHECK(rig.peer.pending == 1);  // one flush for the batch
    CHECK(rig.peer.replies().size() == 2);
}

TEST_CASE("a lost connection waits for the disk and then ends its session") {
    Rig rig;
    rig.world.link().disk->hold = true;
    rig.peer.read(0, 1);
    rig.peer.disconnect();
    CHECK_FALSE(rig.peer.gone());
    CHECK(rig.world.link().ended.empty());
    rig.world.link().disk->complete_held();
    rig.peer.destroy_if_finished();
    CHECK(rig.peer.gone());
    CHECK(rig.world.link().ended == std::vector<SessionEnd>{SessionEnd::connection_lost});
    CHECK(rig.world.environment.buffers.out_bytes() == 0);
    CHECK(rig.world.link().device.tasks_in_flight() == 0);
}

TEST_CASE("a connection lost in the middle of a write leaves nothing behind") {
    Rig rig({"InitialR2T=Yes", "ImmediateData=No"});
    rig.write(kWrite, 8, {}, 4096);
    CHECK(rig.world.environment.buffers.out_bytes() > 0);
    rig.peer.disconnect();
    CHECK(rig.peer.gone());
    CHECK(rig.world.environment.buffers.out_bytes() == 0);
    CHECK(rig.world.link().device.tasks_in_flight() == 0);
}

TEST_CASE("a read of lent memory is cut where its runs end, and is what was stored") {
    Rig rig({"MaxRecvDataSegmentLength=4096", "MaxBurstLength=8192"});
    auto& disk = *rig.world.link().disk;
    const auto content = pattern(16 * 512);
    std::copy(content.begin(), content.end(), disk.memory.begin() + 512);
    disk.lent_run_bytes = 3 * 512;
    const auto replies = rig.peer.read(1, 16);
    ByteVector received;
    std::uint32_t data_sn = 0;
    for (const Reply& r : replies) {
        REQUIRE(r.opcode() == Opcode::data_in);
        CHECK(r.be32(36) == data_sn++);
        CHECK(r.be32(40) == received.size());
        CHECK(r.data.size() <= 3 * 512);
        received.insert(received.end(), r.data.begin(), r.data.end());
        const bool last = received.size() == content.size();
        CHECK(((r.flags() & kDataInStatus) != 0) == last);
    }
    CHECK(received == content);
    CHECK(data_sn == 6);
    CHECK(rig.world.environment.buffers.out_bytes() == 0);
}

TEST_CASE("an initiator with room for less than a lent read gets that much") {
    Rig rig;
    auto& disk = *rig.world.link().disk;
    const auto content = pattern(4096);
    std::copy(content.begin(), content.end(), disk.memory.begin() + 512);
    disk.lent_run_bytes = 2048;
    Request request(Opcode::scsi_command, kRead);
    rig.peer.command(request, read_10(1, 8), 2560);
    const auto replies = rig.peer.send(request);
    REQUIRE(replies.size() == 2);
    CHECK(replies[0].data == slice(content, 0, 2048));
    CHECK(replies[1].data == slice(content, 2048, 512));
    CHECK(replies[1].flags() == (kFinal | kDataInStatus | kOverflow));
    CHECK(replies[1].be32(44) == 4096 - 2560);
}

TEST_CASE("with data digests nothing is lent") {
    Rig rig({"DataDigest=CRC32C"});
    auto& disk = *rig.world.link().disk;
    disk.lent_run_bytes = 512;
    const auto content = pattern(1024);
    std::copy(content.begin(), content.end(), disk.memory.begin() + 512);
    const auto replies = rig.peer.read(1, 2);
    REQUIRE(replies.size() == 1);  // lent, it would come in two
    CHECK(replies[0].data == content);
}
