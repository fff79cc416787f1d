#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

struct Variant {
    const char* name;
    std::uint8_t read, write;
    unsigned length;
};
constexpr Variant kVariants[] = {
    {"6", 0x08, 0x0A, 6}, {"10", 0x28, 0x2A, 10}, {"12", 0xA8, 0xAA, 12}, {"16", 0x88, 0x8A, 16}};

Cdb transfer(std::uint8_t opcode, unsigned length, std::uint32_t lba, std::uint32_t blocks) {
    Cdb out = cdb(opcode);
    switch (length) {
        case 6:
            out.u8(1, lba >> 16).be16(2, static_cast<std::uint16_t>(lba)).u8(4, blocks);
            break;
        case 10:
            out.be32(2, lba).be16(7, static_cast<std::uint16_t>(blocks));
            break;
        case 12:
            out.be32(2, lba).be32(6, blocks);
            break;
        default:
            out.be64(2, lba).be32(10, blocks);
            break;
    }
    return out;
}

constexpr std::uint32_t kBlocks = kDiskBytes / 512;

}  // namespace

TEST_CASE("what each write stores each read returns") {
    Rig rig;
    std::uint32_t lba = 5;
    for (const Variant& write : kVariants) {
        for (const Variant& read : kVariants) {
            CAPTURE(write.name, read.name);
            const auto data = pattern(3 * 512, lba);
            CHECK(rig.run(transfer(write.write, write.length, lba, 3), data).good());
            Command& back = rig.run(transfer(read.read, read.length, lba, 3));
            REQUIRE(back.good());
            CHECK(copy(back.data_in()) == data);
            CHECK(std::equal(data.begin(), data.end(), rig.disk->data() + lba * 512));
            lba += 3;
        }
    }
}

TEST_CASE("zero blocks transfer nothing, except that READ 6 means 256") {
    Rig rig;
    for (const Variant& each : kVariants) {
        Command& read = rig.run(transfer(each.read, each.length, 0, 0));
        CHECK(read.good());
        CHECK(read.data_in().size() == (each.length == 6 ? 256 * 512 : 0));
    }
    CHECK(rig.disk->submitted.size() == 1);
}

TEST_CASE("the end of the disk is exact") {
    Rig rig;
    for (const Variant& each : kVariants) {
        CAPTURE(each.name);
        const std::uint32_t last = kBlocks - 1;
        CHECK(rig.run(transfer(each.read, each.length, last, 1)).good());
        CHECK(rig.run(transfer(each.read, each.length, last, 2)).sense(5, 0x21, 0x00));
        CHECK(rig.run(transfer(each.read, each.length, kBlocks, 1)).sense(5, 0x21, 0x00));
        CHECK(rig.run(transfer(each.write, each.length, last, 2), pattern(1024, 1))
                  .sense(5, 0x21, 0x00));
        if (each.length != 6)
            CHECK(rig.run(transfer(each.read, each.length, kBlocks, 0)).sense(5, 0x21, 0x00));
    }
    CHECK(rig.run(cdb(0x88).be64(2, ~0ull).be32(10, 2)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0x88).be64(2, 1).be32(10, ~0u)).sense(5, 0x21, 0x00));
}

TEST_CASE("transfers above the advertised maximum are refused with a pointer to the length") {
    Rig rig;
    CHECK(rig.run(transfer(0x88, 16, 0, 16384)).good());
    Command& refused = rig.run(transfer(0x88, 16, 0, 16385));
    CHECK(refused.sense(5, 0x24, 0x00));
    CHECK(refused.task.sense.has_field_pointer);
    CHECK(refused.task.sense.field_byte == 10);
}

TEST_CASE("protection information is refused") {
    Rig rig;
    for (const Variant& each : kVariants) {
        if (each.length == 6) continue;
        CHECK(rig.run(transfer(each.read, each.length, 0, 1).u8(1, 0x20)).sense(5, 0x24, 0x00));
        CHECK(rig.run(transfer(each.write, each.length, 0, 1).u8(1, 0x60), pattern(512, 1))
                  .sense(5, 0x24, 0x00));
    }
    CHECK(rig.disk->submitted.empty());
}

TEST_CASE("DPO is accepted, FUA makes the write durable, WCE cleared makes every write so") {
    Rig rig;
    CHECK(rig.run(write10(0, 1).u8(1, 0x10), pattern(512, 1)).good());
    CHECK_FALSE(rig.disk->submitted.back().fua);
    CHECK(rig.run(write10(0, 1).u8(1, 0x08), pattern(512, 1)).good());
    CHECK(rig.disk->submitted.back().fua);
    CHECK(rig.run(read10(0, 1).u8(1, 0x18)).good());
    // MODE SELECT(6): caching page with WCE 0
    std::vector<std::uint8_t> select(24);
    select[4] = 0x08;
    select[5] = 18;
    REQUIRE(rig.run(cdb(0x15).u8(1, 0x10).u8(4, 24), select).good());
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).good());
    CHECK(rig.disk->submitted.back().fua);
}

TEST_CASE("an initiator that announces less than the CDB gets its whole blocks written") {
    Rig rig;
    const auto data = pattern(1024, 3);
    Command& command = rig.run(write10(8, 4), data);
    CHECK(command.good());
    CHECK(command.task.data_out_length == 4 * 512);
    REQUIRE(rig.disk->submitted.size() == 1);
    CHECK(rig.disk->submitted.back().length_bytes == 1024);
    CHECK(rig.run(write10(8, 4), pattern(1024 + 100, 3)).sense(5, 0x0E, 0x03));
    CHECK(rig.disk->submitted.size() == 1);
}

TEST_CASE("disk outcomes become sense data, inline and later") {
    struct Row {
        disk::Outcome outcome;
        unsigned key, asc, ascq;
    };
    constexpr Row kRows[] = {
        {disk::Outcome::medium_error, 3, 0x11, 0x00}, {disk::Outcome::write_failed, 3, 0x0C, 0x00},
        {disk::Outcome::out_of_space, 7, 0x27, 0x07}, {disk::Outcome::out_of_range, 5, 0x21, 0x00},
        {disk::Outcome::gone, 2, 0x04, 0x00},
    };
    Rig rig;
    for (const bool later : {false, true}) {
        rig.disk->hold = later;
        for (const Row& row : kRows) {
            CAPTURE(later, row.asc);
            rig.disk->fail_next(disk::Operation::write, row.outcome);
            Command& command = rig.run(write10(0, 1), pattern(512, 1));
            CHECK(command.done == !later);
            rig.disk->finish_all();
            CHECK(command.sense(row.key, row.asc, row.ascq));
            CHECK(command.completions == (later ? 1 : 0));
        }
    }
    rig.disk->hold = false;
    rig.disk->fail_next(disk::Operation::read, disk::Outcome::medium_error);
    Command& read = rig.run(read10(0, 1));
    CHECK(read.sense(3, 0x11, 0x00));
    CHECK(read.data_in().empty());
}

TEST_CASE("a read that the disk answers later completes once, then its data is there") {
    Rig rig;
    const auto data = pattern(4096, 9);
    REQUIRE(rig.run(write10(16, 8), data).good());
    rig.disk->hold = true;
    Command& read = rig.run(read10(16, 8));
    CHECK_FALSE(read.done);
    CHECK(rig.device->tasks_in_flight() == 1);
    rig.disk->finish_all();
    CHECK(read.good());
    CHECK(read.completions == 1);
    CHECK(copy(read.data_in()) == data);
    CHECK(rig.device->tasks_in_flight() == 0);
}

TEST_CASE("a read-only disk refuses writes with 7/27/00 and says so in MODE SENSE") {
    Rig rig({.size_bytes = kDiskBytes, .read_only = true});
    for (const Variant& each : kVariants)
        CHECK(
            rig.run(transfer(each.write, each.length, 0, 1), pattern(512, 1)).sense(7, 0x27, 0x00));
    CHECK(rig.run(read10(0, 1)).good());
    CHECK(rig.run(cdb(0x1A).u8(2, 0x3F).u8(4, 255)).data_in()[2] == 0x90);
}

TEST_CASE("synchronize cache flushes, checks its range and reports failures") {
    Rig rig;
    CHECK(rig.run(cdb(0x35)).good());
    CHECK(rig.disk->submitted.back().operation == disk::Operation::flush);
    CHECK(rig.run(cdb(0x91).u8(1, 2).be64(2, 5).be32(10, 7)).good());
    CHECK(rig.run(cdb(0x35).be32(2, kBlocks)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0x91).be64(2, kBlocks - 1).be32(10, 2)).sense(5, 0x21, 0x00));
    rig.disk->fail_next(disk::Operation::flush, disk::Outcome::write_failed);
    CHECK(rig.run(cdb(0x35)).sense(3, 0x0C, 0x00));
}

TEST_CASE("4096-byte blocks") {
    Rig rig({.size_bytes = kDiskBytes, .logical_block_bytes = 4096});
    const auto data = pattern(8192, 2);
    REQUIRE(rig.run(write10(3, 2), data).good());
    CHECK(std::equal(data.begin(), data.end(), rig.disk->data() + 3 * 4096));
    CHECK(rig.run(read10(kBlocks / 8, 1)).sense(5, 0x21, 0x00));
    const auto capacity = copy(rig.run(cdb(0x9E).u8(1, 0x10).be32(10, 32)).data_in());
    CHECK(load_be64(&capacity[0]) == kBlocks / 8 - 1);
    CHECK(load_be32(&capacity[8]) == 4096);
    CHECK(capacity[13] == 0);
}
