// Every command that takes data from the initiator, with an Expected Data Transfer Length that is
// not the one its CDB says: by the wire's way, PDUs in and PDUs out, over a disk in memory.
#include <functional>
#include <set>

#include "target/scsi/opcode_table.hpp"
#include "tests/unit/iscsi/world.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using scsi::DataOut;
using scsi::testing::cdb;
using scsi::testing::Cdb;
using Buffer = std::vector<std::uint8_t>;
namespace wire = goldlink::iscsi::test;

namespace {

constexpr std::uint32_t kBlock = 512;
constexpr std::uint32_t kLba = 64;
constexpr std::uint32_t kBlocks = 3;
constexpr std::uint8_t kOld = 0xEE;

// A target over one thin disk that can do all there is, whose blocks at kLba are all kOld.
struct Target final : iscsi::LinkEndpoint {
    Target() {
        std::memset(disk->data(), kOld, std::size_t{4} * kLba * kBlock);
        scsi::DeviceSeams seams;
        seams.wake = [] {};
        seams.now_ms = [] { return std::uint64_t{1}; };
        seams.fill_random = [](std::span<std::uint8_t> out) { std::ranges::fill(out, 1); };
        device = std::make_unique<scsi::Device>(
            std::string(wire::World::kTarget),
            std::vector<scsi::LogicalUnitDefinition>{{.lun = 0, .identity = {}, .disk = disk}},
            std::move(seams));
    }
    scsi::Device* session_started(const iscsi::SessionInfo&, iscsi::SessionControl&) override {
        return device.get();
    }
    void session_ended(iscsi::SessionControl&, iscsi::SessionEnd) override {}
    void first_write(iscsi::SessionControl&) override {}

    std::shared_ptr<scsi::testing::MemoryDisk> disk =
        std::make_shared<scsi::testing::MemoryDisk>(disk::Geometry{
            .size_bytes = 1u << 20, .logical_block_bytes = kBlock, .max_atomic_bytes = 65536});
    std::unique_ptr<scsi::Device> device;
};

struct Answer {
    std::uint8_t status = 0xFF;
    unsigned key = 0, asc = 0, ascq = 0;
    std::uint8_t residual_flags = 0;
    std::uint32_t residual = 0;
    std::uint32_t asked = 0;  // bytes, by R2T

    bool is(unsigned k, unsigned a, unsigned q) const {
        return status == 2 && key == k && asc == a && ascq == q;
    }
};

// An initiator that sends as much as it has announced, and not a byte that nobody wants.
struct Initiator {
    explicit Initiator(bool immediate) : immediate_(immediate) {
        world.entry().endpoint = &target;
        if (immediate)
            peer.login({"InitialR2T=No"});
        else
            peer.login({"InitialR2T=Yes", "ImmediateData=No"});
    }

    Answer run(const Cdb& cdb, const Buffer& data, std::uint8_t direction = iscsi::kCommandWrite) {
        iscsi::test::Request request(iscsi::Opcode::scsi_command, iscsi::kFinal | direction | 1);
        peer.command(request, cdb.raw, static_cast<std::uint32_t>(data.size()));
        if (immediate_ && direction == iscsi::kCommandWrite) request.with(data);
        Answer answer;
        auto replies = peer.send(request);
        while (!replies.empty() && replies.back().opcode() == iscsi::Opcode::r2t)
            replies = send_what_is_asked(replies.back(), data, answer);
        REQUIRE(replies.size() == 1);
        const wire::Reply& reply = replies.front();
        REQUIRE(reply.opcode() == iscsi::Opcode::scsi_response);
        answer.status = reply.byte(3);
        answer.residual_flags = reply.flags() & (iscsi::kOverflow | iscsi::kUnderflow);
        answer.residual = reply.be32(44);
        if (answer.status == 2) {
            REQUIRE(reply.data.size() >= 16);
            answer.key = reply.data[4] & 0x0F;
            answer.asc = reply.data[14];
            answer.ascq = reply.data[15];
        }
        return answer;
    }

    Target target;
    wire::World world;
    wire::Peer peer{world};

  private:
    std::vector<wire::Reply> send_what_is_asked(const wire::Reply& r2t, const Buffer& data,
                                                Answer& answer) {
        const std::uint32_t offset = r2t.be32(40), length = r2t.be32(44);
        REQUIRE(offset + length <= data.size());
        answer.asked += length;
        iscsi::test::Request out(iscsi::Opcode::data_out, iscsi::kFinal);
        const auto from = data.begin() + offset;
        out.with(Buffer(from, from + length));
        out.writer.itt(peer.itt).ttt(r2t.be32(20)).be32(36, 0).be32(40, offset);
        return peer.send(out);
    }

    bool immediate_;
};

// What becomes of the disk when all the data came: nothing, or this at kLba.
struct Row {
    const char* name;
    Cdb cdb;
    DataOut kind;
    Buffer data;                      // as long as the CDB says
    std::optional<Buffer> result{};   // the blocks at kLba afterwards; unset: nothing to see
    std::array<unsigned, 3> whole{};  // the answer to all of it: key, ASC, ASCQ; zeros: GOOD
};

Buffer blocks(std::uint32_t count, unsigned seed = 1) {
    return scsi::testing::pattern(std::size_t{count} * kBlock, seed);
}
Buffer old(std::uint32_t count) { return Buffer(std::size_t{count} * kBlock, kOld); }
Buffer join(Buffer first, const Buffer& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}
Buffer unmap_list() {
    Buffer list(24);
    store_be16(&list[0], 22);
    store_be16(&list[2], 16);
    store_be64(&list[8], kLba);
    store_be32(&list[16], kBlocks);
    return list;
}
Buffer sanitize_list() {
    Buffer list(4 + kBlock, 0x5A);
    list[0] = 0x01;  // overwritten once
    list[1] = 0;
    store_be16(&list[2], kBlock);
    return list;
}
// Refused by its content: that is how it is known to have come.
Buffer refused_list(std::size_t length, std::size_t at = 0, std::uint8_t value = 0) {
    Buffer list(length);
    list[at] = value;
    return list;
}

const std::array<unsigned, 3> kBadList{5, 0x26, 0x00};

std::vector<Row> rows() {
    const Buffer data = blocks(kBlocks);
    const auto at10 = [](std::uint8_t opcode, std::uint16_t count) {
        return cdb(opcode).be32(2, kLba).be16(7, count);
    };
    const auto at12 = [](std::uint8_t opcode) {
        return cdb(opcode).be32(2, kLba).be32(6, kBlocks);
    };
    const auto at16 = [](std::uint8_t opcode) {
        return cdb(opcode).be64(2, kLba).be32(10, kBlocks);
    };
    std::vector<Row> all{
        {"WRITE (6)", cdb(0x0A).be16(2, kLba).u8(4, kBlocks), DataOut::blocks, data, data},
        {"WRITE (10)", at10(0x2A, kBlocks), DataOut::blocks, data, data},
        {"WRITE (12)", at12(0xAA), DataOut::blocks, data, data},
        {"WRITE (16)", at16(0x8A), DataOut::blocks, data, data},
        {"WRITE AND VERIFY (10)", at10(0x2E, kBlocks), DataOut::blocks, data, data},
        {"WRITE AND VERIFY (12)", at12(0xAE).u8(1, 0x02), DataOut::blocks, data, data},
        {"WRITE AND VERIFY (16)", at16(0x8E), DataOut::blocks, data, data},
        {"ORWRITE", at16(0x8B), DataOut::blocks, Buffer(kBlocks * kBlock, 0x11),
         Buffer(kBlocks * kBlock, 0xFF)},
        {"WRITE ATOMIC", cdb(0x9C).be64(2, kLba).be16(12, kBlocks), DataOut::whole, data, data},
        {"VERIFY (10)", at10(0x2F, kBlocks).u8(1, 0x02), DataOut::whole, old(kBlocks)},
        {"VERIFY (12)", at12(0xAF).u8(1, 0x02), DataOut::whole, old(kBlocks)},
        {"VERIFY (16)", at16(0x8F).u8(1, 0x02), DataOut::whole, old(kBlocks)},
        {"VERIFY (16) of one block", at16(0x8F).u8(1, 0x06), DataOut::whole, old(1)},
        {"WRITE SAME (10)", at10(0x41, 1), DataOut::exact, blocks(1), blocks(1)},
        {"WRITE SAME (16)", at16(0x93).be32(10, 1), DataOut::exact, blocks(1), blocks(1)},
        {"WRITE SAME (16) that unmaps", at16(0x93).u8(1, 0x08).be32(10, 1), DataOut::exact,
         Buffer(kBlock), Buffer(kBlock)},
        {"COMPARE AND WRITE of 1", cdb(0x89).be64(2, kLba).u8(13, 1), DataOut::counted,
         join(old(1), blocks(1)), blocks(1)},
        {"COMPARE AND WRITE of 3", cdb(0x89).be64(2, kLba).u8(13, 3), DataOut::counted,
         join(old(3), blocks(3)), blocks(3)},
        {"UNMAP", cdb(0x42).be16(7, 24), DataOut::list, unmap_list(), Buffer(kBlocks * kBlock)},
        {"MODE SELECT (6)", cdb(0x15).u8(1, 0x10).u8(4, 4), DataOut::list, Buffer(4)},
        {"MODE SELECT (10)", cdb(0x55).u8(1, 0x10).be16(7, 8), DataOut::list, Buffer(8)},
        {"WRITE BUFFER", cdb(0x3B).u8(1, 0x0A).u8(8, 64), DataOut::list, blocks(1)},
        {"SANITIZE OVERWRITE", cdb(0x48).u8(1, 0x81).be16(7, 4 + kBlock), DataOut::list,
         sanitize_list()},
        {"EXTENDED COPY",
         cdb(0x83).be32(10, 16),
         DataOut::list,
         refused_list(16, 1, 0x08),
         {},
         kBadList},
        {"POPULATE TOKEN",
         cdb(0x83).u8(1, 0x10).be32(10, 32),
         DataOut::list,
         refused_list(32),
         {},
         kBadList},
        {"WRITE USING TOKEN",
         cdb(0x83).u8(1, 0x11).be32(10, 552),
         DataOut::list,
         refused_list(552),
         {},
         kBadList},
    };
    all[21].data.resize(64);
    // A key that is not registered is a conflict, of the actions that need one.
    for (std::uint8_t action = 0; action <= 7; ++action)
        all.push_back({"PERSISTENT RESERVE OUT", cdb(0x5F).u8(1, action).u8(2, 1).be32(5, 24),
                       DataOut::list, refused_list(24, 7, 1)});
    return all;
}

struct Case {
    std::uint32_t announced;
    bool taken;  // by the rule of the row's kind
};

std::vector<Case> cases_of(const Row& row) {
    const auto needed = static_cast<std::uint32_t>(row.data.size());
    std::set<std::uint32_t> lengths{0, 1, needed - 1, needed, needed + 1, needed + kBlock};
    for (std::uint32_t block = kBlock; block < needed; block += kBlock)
        lengths.insert({block, block - 312});
    std::vector<Case> cases;
    for (const std::uint32_t length : lengths) {
        bool taken = length == needed;
        if (length > needed) taken = row.kind != DataOut::exact && row.kind != DataOut::counted;
        if (length < needed) taken = row.kind == DataOut::blocks && length % kBlock == 0;
        cases.push_back({length, taken});
    }
    return cases;
}

void check_residual(const Answer& answer, std::size_t announced, std::size_t needed) {
    CHECK(answer.residual_flags == (announced < needed   ? iscsi::kOverflow
                                    : announced > needed ? iscsi::kUnderflow
                                                         : 0));
    CHECK(answer.residual == (announced < needed ? needed - announced : announced - needed));
}

void check_disk(const Row& row, const Case& each, scsi::testing::MemoryDisk& disk) {
    Buffer expected(std::size_t{4} * kLba * kBlock, kOld);
    if (each.taken && row.result) {
        // Of blocks that were not announced, none is touched.
        const std::size_t written = row.kind == DataOut::blocks
                                        ? std::min<std::size_t>(each.announced, row.result->size())
                                        : row.result->size();
        std::copy_n(row.result->begin(), written, expected.begin() + kLba * kBlock);
    }
    CHECK(std::equal(expected.begin(), expected.end(), disk.data()));
}

bool is_what_all_of_it_gets(const Row& row, const Answer& answer) {
    constexpr std::uint8_t kConflict = 0x18;
    if (row.cdb.raw[0] == 0x5F) return answer.status == 0 || answer.status == kConflict;
    const auto [key, asc, ascq] = row.whole;
    return key == 0 ? answer.status == 0 : answer.is(key, asc, ascq);
}

}  // namespace

TEST_CASE("a data-out of another length is written as far as it goes, or refused") {
    for (const Row& row : rows())
        for (const Case& each : cases_of(row))
            for (const bool immediate : {true, false}) {
                CAPTURE(row.name, unsigned{row.cdb.raw[1]}, row.data.size(), each.announced,
                        immediate);
                Initiator initiator(immediate);
                Buffer data = row.data;
                data.resize(each.announced, 0x77);
                const Answer answer = initiator.run(row.cdb, data);
                if (each.taken)
                    CHECK(is_what_all_of_it_gets(row, answer));
                else if (row.kind == DataOut::list)
                    CHECK(answer.is(5, 0x1A, 0x00));
                else if (row.kind == DataOut::counted)
                    CHECK(answer.is(5, 0x24, 0x00));
                else
                    CHECK(answer.is(5, 0x0E, 0x03));
                check_residual(answer, each.announced, row.data.size());
                check_disk(row, each, *initiator.target.disk);
                const auto wanted = std::min<std::size_t>(each.announced, row.data.size());
                CHECK(answer.asked == (each.taken && !immediate ? wanted : 0));
                CHECK(initiator.target.device->tasks_in_flight() == 0);
            }
}

TEST_CASE("every row of the opcode table with a rule of its own is walked") {
    std::set<std::pair<unsigned, DataOut>> walked;
    for (const Row& row : rows()) walked.insert({row.cdb.raw[0], row.kind});
    for (const scsi::OpcodeRow& row : scsi::disk_command_set().rows()) {
        CAPTURE(unsigned{row.opcode});
        if (row.data_out != DataOut::list) CHECK(walked.contains({row.opcode, row.data_out}));
    }
}

TEST_CASE("a command of no data is done, and what was announced for it is left") {
    struct Zero {
        const char* name;
        Cdb cdb;
        bool counted = false;
    };
    const Zero zeros[] = {
        {"WRITE (10)", cdb(0x2A).be32(2, kLba)},
        {"WRITE (16)", cdb(0x8A).be64(2, kLba)},
        {"WRITE AND VERIFY (10)", cdb(0x2E).be32(2, kLba)},
        {"ORWRITE", cdb(0x8B).be64(2, kLba)},
        {"WRITE ATOMIC", cdb(0x9C).be64(2, kLba)},
        {"VERIFY (10) of no blocks", cdb(0x2F).u8(1, 0x02).be32(2, kLba)},
        {"VERIFY (10) without data", cdb(0x2F).be32(2, kLba).be16(7, kBlocks)},
        {"UNMAP", cdb(0x42)},
        {"MODE SELECT (6)", cdb(0x15).u8(1, 0x10)},
        {"MODE SELECT (10)", cdb(0x55).u8(1, 0x10)},
        {"EXTENDED COPY", cdb(0x83)},
        {"POPULATE TOKEN", cdb(0x83).u8(1, 0x10)},
        {"WRITE USING TOKEN", cdb(0x83).u8(1, 0x11)},
        {"COMPARE AND WRITE", cdb(0x89).be64(2, kLba), true},  // 256 blocks do not fit its byte
    };
    for (const Zero& each : zeros)
        for (const std::uint32_t announced : {0u, kBlock}) {
            CAPTURE(each.name, announced);
            Initiator initiator(true);
            const Answer answer = initiator.run(each.cdb, Buffer(announced));
            if (each.counted && announced > 0)
                CHECK(answer.is(5, 0x24, 0x00));
            else
                CHECK(answer.status == 0);
            check_residual(answer, announced, 0);
            for (const auto& seen : initiator.target.disk->submitted)
                CHECK(seen.operation == disk::Operation::read);
        }
    Initiator initiator(true);
    const Cdb clears = cdb(0x93).u8(1, 0x01).be64(2, kLba).be32(10, 1);  // NDOB
    CHECK(initiator.run(clears, {}).status == 0);
    CHECK(initiator.target.disk->data()[kLba * kBlock] == 0);
}

TEST_CASE("a write whose data goes the other way is refused, or says that all of it is missing") {
    Initiator initiator(true);
    const Cdb write = cdb(0x2A).be32(2, kLba).be16(7, 1);
    Answer answer = initiator.run(write, Buffer(kBlock), iscsi::kCommandRead);
    CHECK(answer.is(5, 0x0E, 0x03));
    CHECK(answer.residual_flags == iscsi::kUnderflow);
    CHECK(answer.residual == kBlock);
    answer = initiator.run(write, {}, 0);  // neither R nor W
    CHECK(answer.status == 0);
    check_residual(answer, 0, kBlock);
    CHECK(initiator.target.disk->submitted.empty());
}
