// WRITE ATOMIC (16): what reaches the disk as one request, what is refused before, and what waits.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr std::uint32_t kMaxBytes = 128 * 1024;

struct AtomicRig : Rig {
    explicit AtomicRig(std::uint32_t block_bytes = 512)
        : Rig({.size_bytes = kDiskBytes,
               .logical_block_bytes = block_bytes,
               .max_atomic_bytes = kMaxBytes}) {}
};

Cdb write_atomic(std::uint64_t lba, std::uint16_t blocks) {
    return cdb(0x9C).be64(2, lba).be16(12, blocks);
}

}  // namespace

TEST_CASE("an atomic write is one request of the disk") {
    for (const std::uint32_t block : {512u, 4096u}) {
        AtomicRig rig(block);
        const auto blocks = static_cast<std::uint16_t>(kMaxBytes / block);
        const auto data = pattern(kMaxBytes, 1);
        REQUIRE(rig.run(write_atomic(7, blocks), data).good());
        REQUIRE(rig.disk->submitted.size() == 1);
        const MemoryDisk::Seen seen = rig.disk->submitted.front();
        CHECK(seen.operation == disk::Operation::write);
        CHECK(seen.atomic);
        CHECK_FALSE(seen.fua);
        CHECK(seen.offset_bytes == std::uint64_t{7} * block);
        CHECK(seen.length_bytes == kMaxBytes);
        CHECK(std::equal(data.begin(), data.end(), rig.disk->data() + 7 * block));
    }
}

TEST_CASE("FUA goes along with an atomic write, and nothing of it stays with the task") {
    AtomicRig rig;
    Command& command = rig.run(write_atomic(7, 2).u8(1, 0x08), pattern(1024, 1));
    REQUIRE(command.good());
    CHECK(rig.disk->submitted.back().fua);
    CHECK(rig.disk->submitted.back().atomic);
    command.task.cdb = write10(3, 2).raw;
    REQUIRE(rig.start(command).good());
    REQUIRE(rig.disk->submitted.size() == 2);
    CHECK_FALSE(rig.disk->submitted.back().atomic);
    CHECK_FALSE(rig.disk->submitted.back().fua);
}

TEST_CASE("what cannot be written as a whole is refused before anything is written") {
    struct Case {
        const char* name;
        Cdb cdb;
        unsigned asc;
        std::uint16_t field;
    };
    const std::uint64_t end = kDiskBytes / 512;
    const Case cases[] = {
        {"longer than the limit", write_atomic(0, 257), 0x24, 12},
        {"a boundary", write_atomic(0, 8).be16(10, 8), 0x24, 10},
        {"protection", write_atomic(0, 8).u8(1, 0x20), 0x24, 1},
        {"past the end", write_atomic(end - 3, 4), 0x21, 0},
        {"past the end and too long", write_atomic(end - 3, 512), 0x21, 0},
        {"no blocks at the end", write_atomic(end, 0), 0x21, 0},
        {"an LBA that wraps", write_atomic(~std::uint64_t{0}, 2), 0x21, 0},
    };
    AtomicRig rig;
    for (const Case& each : cases) {
        CAPTURE(each.name);
        Command& command = rig.run(each.cdb, pattern(512 * 512, 1));
        CHECK(command.sense(5, each.asc, 0));
        if (each.asc == 0x24) CHECK(command.task.sense.field_byte == each.field);
    }
    // The initiator announces less data than the blocks have.
    CHECK(rig.run(write_atomic(0, 8), pattern(7 * 512, 1)).sense(5, 0x0E, 0x03));
    CHECK(rig.run(write_atomic(0, 0)).good());
    CHECK(rig.disk->submitted.empty());
    CHECK(rig.device->tasks_in_flight() == 0);
}

TEST_CASE("no command touches the blocks of an atomic write meanwhile, nor it theirs") {
    AtomicRig rig;
    rig.disk->hold = true;
    // VERIFY reads in several requests.
    Command& verify = rig.run(rig.second, cdb(0x2F).be32(2, 0).be16(7, 256));
    Command& atomic = rig.run(write_atomic(200, 8), pattern(8 * 512, 1));
    Command& beside = rig.run(rig.second, read10(207, 2));
    Command& elsewhere = rig.run(rig.second, read10(208, 2));
    CHECK(rig.disk->held.size() == 2);  // VERIFY's first, and what lies elsewhere
    while (!verify.done) rig.disk->finish_one();
    CHECK(verify.good());
    CHECK(elsewhere.good());
    REQUIRE(rig.disk->held.size() == 1);
    CHECK(rig.disk->submitted.back().atomic);
    CHECK_FALSE(beside.done);
    rig.disk->finish_all();
    CHECK(atomic.good());
    CHECK(beside.good());
    CHECK(copy(beside.data_in()).front() == pattern(8 * 512, 1)[7 * 512]);
}

TEST_CASE("a disk that refuses an atomic write gives its sense") {
    AtomicRig rig;
    rig.disk->fail_next(disk::Operation::write, disk::Outcome::out_of_space);
    CHECK(rig.run(write_atomic(0, 8), pattern(8 * 512, 1)).sense(7, 0x27, 0x07));
}

TEST_CASE("the block limits tell of atomic writes where the disk has them") {
    const auto limits = [](Rig& rig) {
        return copy(rig.run(cdb(0x12).u8(1, 1).u8(2, 0xB0).be16(3, 255)).data_in());
    };
    const auto is_reported = [](Rig& rig) {
        Command& one = rig.run(cdb(0xA3).u8(1, 0x0C).u8(2, 0x01).u8(3, 0x9C).be32(6, 64));
        REQUIRE(one.good());
        return (one.data_in()[1] & 0x07) == 0x03;
    };
    AtomicRig with;
    CHECK(to_hex(Bytes(limits(with)).subspan(44)) == "00000100" + std::string(32, '0'));
    AtomicRig with_4k(4096);
    CHECK(to_hex(Bytes(limits(with_4k)).subspan(44)) == "00000020" + std::string(32, '0'));
    CHECK(is_reported(with));
    Rig without;
    CHECK(to_hex(Bytes(limits(without)).subspan(44)) == std::string(40, '0'));
    CHECK_FALSE(is_reported(without));
    CHECK(without.run(write_atomic(0, 1), pattern(512, 1)).sense(5, 0x20, 0));
}
