// START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL: what a stopped or empty unit still does.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr unsigned kStop = 0, kStart = 1, kEject = 2, kLoad = 3, kNoFlush = 4;
Cdb start_stop(unsigned flags) { return cdb(0x1B).u8(4, flags); }
Cdb prevent(unsigned value) { return cdb(0x1E).u8(4, value); }

struct RemovableRig : Rig {
    RemovableRig() : Rig({.size_bytes = 1u << 20}, false, {}, true) {}
};

}  // namespace

TEST_CASE("a stopped unit wants START before it touches its medium; the rest it answers") {
    Rig rig;
    REQUIRE(rig.run(start_stop(kStop)).good());
    for (const Cdb& medium : {cdb(0x00), read10(0, 1), cdb(0x25), cdb(0x35), cdb(0x2F),
                              cdb(0x9E).u8(1, 0x10).be32(10, 32), cdb(0x34)})
        CHECK(rig.run(rig.second, medium).sense(2, 0x04, 0x02));
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).sense(2, 0x04, 0x02));
    CHECK(to_hex(rig.run(cdb(0x03).u8(4, 18)).data_in()) == "700002000000000a00000000040200000000");
    for (const Cdb& other :
         {cdb(0x12).be16(3, 255), cdb(0xA0).be32(6, 64), cdb(0x1A).u8(2, 0x3F).u8(4, 255),
          cdb(0x5E).be16(7, 255), cdb(0x4D).be16(7, 255), prevent(1), start_stop(kStop)})
        CHECK(rig.run(other).good());
    REQUIRE(rig.run(start_stop(kStart)).good());
    CHECK(rig.run(rig.second, read10(0, 1)).good());
}

TEST_CASE("stopping makes durable what was written, unless told not to") {
    struct Row {
        unsigned flags;
        std::size_t flushes;
    };
    for (const Row& row : {Row{kStop, 1}, Row{kStop | kNoFlush, 0}, Row{kStart, 0}}) {
        CAPTURE(row.flags);
        Rig rig;
        REQUIRE(rig.run(start_stop(row.flags)).good());
        CHECK(rig.disk->submitted.size() == row.flushes);
        if (row.flushes != 0) CHECK(rig.disk->submitted[0].operation == disk::Operation::flush);
    }
    Rig rig;
    rig.disk->fail_next(disk::Operation::flush, disk::Outcome::write_failed);
    CHECK(rig.run(start_stop(kStop)).sense(3, 0x0C, 0x00));
    CHECK(rig.run(cdb(0x00)).good());
}

TEST_CASE("a login and a reset start a stopped unit: iPXE never would") {
    Rig rig;
    REQUIRE(rig.run(start_stop(kStop)).good());
    Nexus* firmware = rig.device->open_nexus("iqn.2026-11.test:firmware,i,0x400027230001", 1);
    rig.run(firmware, cdb(0x00));
    CHECK(rig.run(firmware, read10(0, 1)).good());
    rig.device->close_nexus(firmware);
    REQUIRE(rig.run(start_stop(kStop)).good());
    rig.device->manage(*rig.first, TaskManagement::logical_unit_reset, 0, nullptr);
    rig.run(cdb(0x00));
    CHECK(rig.run(read10(0, 1)).good());
}

TEST_CASE("a fixed medium is not ejected, and preventing its removal means nothing") {
    Rig rig;
    CHECK(rig.run(start_stop(kEject)).sense(5, 0x24, 0x00));
    CHECK(rig.run(start_stop(kLoad)).sense(5, 0x24, 0x00));
    CHECK(rig.run(start_stop(0x10)).sense(5, 0x24, 0x00));  // power conditions
    CHECK(rig.run(prevent(1)).good());
    CHECK(rig.run(prevent(2)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x12).be16(3, 36)).data_in()[1] == 0x00);
}

TEST_CASE("ejecting and loading a removable medium") {
    RemovableRig rig;
    CHECK(rig.run(cdb(0x12).be16(3, 36)).data_in()[1] == 0x80);
    REQUIRE(rig.run(start_stop(kEject)).good());
    CHECK(rig.run(cdb(0x00)).sense(2, 0x3A, 0x00));
    CHECK(rig.run(rig.second, read10(0, 1)).sense(2, 0x3A, 0x00));
    rig.device->manage(*rig.first, TaskManagement::logical_unit_reset, 0, nullptr);
    for (Nexus* nexus : {rig.first, rig.second}) rig.run(nexus, cdb(0x00));
    CHECK(rig.run(cdb(0x00)).sense(2, 0x3A, 0x00));  // it does not come back by itself
    REQUIRE(rig.run(start_stop(kLoad)).good());
    CHECK(rig.run(cdb(0x00)).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x28, 0x00));
    CHECK(rig.run(rig.second, cdb(0x00)).good());
}

TEST_CASE("removal is prevented as long as one nexus prevents it") {
    RemovableRig rig;
    REQUIRE(rig.run(rig.first, prevent(1)).good());
    REQUIRE(rig.run(rig.second, prevent(1)).good());
    CHECK(rig.run(rig.first, start_stop(kEject)).sense(5, 0x53, 0x02));
    REQUIRE(rig.run(rig.first, prevent(0)).good());
    CHECK(rig.run(rig.first, start_stop(kEject)).sense(5, 0x53, 0x02));
    CHECK(rig.run(rig.first, start_stop(kStop)).good());  // that is no removal
    CHECK(rig.run(rig.first, start_stop(kStart)).good());
    rig.device->close_nexus(std::exchange(rig.second, nullptr));
    CHECK(rig.run(rig.first, start_stop(kEject)).good());
    REQUIRE(rig.run(rig.first, prevent(1)).good());
    REQUIRE(rig.run(rig.first, start_stop(kLoad)).good());  // that is none either
    CHECK(rig.run(rig.first, cdb(0x00)).good());
    rig.device->manage(*rig.first, TaskManagement::target_warm_reset, 0, nullptr);
    rig.run(cdb(0x00));
    CHECK(rig.run(rig.first, start_stop(kEject)).good());
}

TEST_CASE("preventing removal is for those who may write, and ends by PREEMPT AND ABORT") {
    RemovableRig rig;
    const auto reserve_out = [&](Nexus* nexus, unsigned action, std::uint64_t key,
                                 std::uint64_t action_key) -> Command& {
        std::vector<std::uint8_t> list(24);
        store_be64(&list[0], key);
        store_be64(&list[8], action_key);
        return rig.run(nexus, cdb(0x5F).u8(1, action).u8(2, 1).be32(5, 24), list);
    };
    REQUIRE(reserve_out(rig.first, 0, 0, 0x11).good());
    REQUIRE(reserve_out(rig.second, 0, 0, 0x22).good());
    REQUIRE(rig.run(rig.second, prevent(1)).good());
    REQUIRE(reserve_out(rig.first, 1, 0x11, 0).good());  // write exclusive
    CHECK(rig.run(rig.second, prevent(1)).task.status == Status::reservation_conflict);
    CHECK(rig.run(rig.second, prevent(0)).good());
    REQUIRE(reserve_out(rig.first, 2, 0x11, 0).good());
    REQUIRE(rig.run(rig.second, prevent(1)).good());
    CHECK(rig.run(rig.first, start_stop(kEject)).sense(5, 0x53, 0x02));
    REQUIRE(reserve_out(rig.first, 5, 0x11, 0x22).good());
    CHECK(rig.run(rig.first, start_stop(kEject)).good());
}

TEST_CASE("auto contingent allegiance is refused, as NORMACA says") {
    Rig rig;
    CHECK(rig.run(cdb(0x00).u8(5, 0x04)).sense(5, 0x24, 0x00));
    CHECK(rig.run(read10(0, 1).u8(9, 0x04)).sense(5, 0x24, 0x00));
    CHECK((rig.run(cdb(0x12).be16(3, 36)).data_in()[3] & 0x20) == 0);
    Command& command = rig.make(rig.first, cdb(0x00));
    command.task.attribute = TaskAttribute::aca;
    CHECK(rig.start(command).sense(5, 0x49, 0x00));
}
