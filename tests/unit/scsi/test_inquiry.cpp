#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

std::vector<std::uint8_t> inquiry(Rig& rig, bool vital, unsigned page, std::uint16_t room = 255) {
    Command& command = rig.run(cdb(0x12).u8(1, vital ? 1 : 0).u8(2, page).be16(3, room));
    REQUIRE(command.good());
    return copy(command.data_in());
}

}  // namespace

TEST_CASE("standard inquiry data, byte by byte") {
    Rig rig;
    const auto data = inquiry(rig, false, 0);
    REQUIRE(data.size() == 96);
    CHECK(to_hex(Bytes(data).first(8)) == "000006125b000002");
    CHECK(as_text(Bytes(data).subspan(8, 28)) == "GOLDLINKDISK            0001");
    CHECK(to_hex(Bytes(data).subspan(58, 8)) == "00a00960046004c0");
}

TEST_CASE("inquiry is cut at the allocation length and keeps its length field") {
    Rig rig;
    const auto data = inquiry(rig, false, 0, 36);
    REQUIRE(data.size() == 36);
    CHECK(data[4] == 0x5B);
    CHECK(inquiry(rig, false, 0, 0).empty());
}

TEST_CASE("inquiry refuses a page code without EVPD, CMDDT and unknown pages") {
    Rig rig;
    Command& without_evpd = rig.run(cdb(0x12).u8(2, 0x80).be16(3, 255));
    CHECK(without_evpd.sense(5, 0x24, 0x00));
    CHECK(without_evpd.task.sense.field_byte == 2);
    CHECK(rig.run(cdb(0x12).u8(1, 2).be16(3, 255)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x12).u8(1, 1).u8(2, 0x8F).be16(3, 255)).sense(5, 0x24, 0x00));
}

TEST_CASE("vital product data pages, byte by byte") {
    Rig rig;
    CHECK(to_hex(inquiry(rig, true, 0x00)) == "0000000800808386b0b1b2b4");
    CHECK(to_hex(inquiry(rig, true, 0x80)) == "0080000c" + to_hex(as_bytes("GL0123456789")));
    CHECK(to_hex(inquiry(rig, true, 0x86)).substr(0, 16) == "0086003c00070101");
    CHECK(inquiry(rig, true, 0x86).size() == 64);
    CHECK(to_hex(inquiry(rig, true, 0xB1)).substr(0, 12) == "00b1003c0001");
    CHECK(to_hex(inquiry(rig, true, 0xB2)) == "00b2000400e40200");
    CHECK(to_hex(inquiry(rig, true, 0xB4)) == "00b40008000002000001" + std::string(4, '0'));
    // WSNZ, 128 blocks compare and write, granularity 8, max 16384 blocks, optimal 512, prefetch,
    // unmap 1 Mi blocks in 256 descriptors, granularity 8, UGAVALID, write same 32768 blocks
    CHECK(to_hex(inquiry(rig, true, 0xB0)) ==
          "00b0003c"
          "01800008"
          "00004000"
          "00000200"
          "00004000"
          "00100000"
          "00000100"
          "00000008"
          "80000000"
          "0000000000008000" +
              std::string(40, '0'));
}

TEST_CASE("device identification names unit, port and target") {
    Rig rig;
    const auto data = inquiry(rig, true, 0x83, 1024);
    std::string expected;
    const auto designator = [&](std::string header, std::string_view value) {
        expected += header + to_hex(as_bytes(value));
    };
    expected +=
        "01030008"
        "3123456789abcdef";
    designator("02010024", "GOLDLINKDISK            GL0123456789");
    designator("03080018", std::string_view("naa.3123456789abcdef\0\0\0\0", 24));
    expected +=
        "51940004"
        "00000001";
    expected +=
        "51950004"
        "00000001";
    designator("53980028", std::string_view("iqn.2026-11.io.goldlink:pc-001,t,0x0001\0", 40));
    designator("53a80020", std::string_view("iqn.2026-11.io.goldlink:pc-001\0\0", 32));
    CHECK(to_hex(Bytes(data).subspan(4)) == expected);
    CHECK(load_be16(&data[2]) == data.size() - 4);
}

TEST_CASE("a thick disk advertises no unmap") {
    Rig rig({.size_bytes = kDiskBytes, .thin = false});
    CHECK(to_hex(inquiry(rig, true, 0xB2)) == "00b2000400000000");
    const auto limits = inquiry(rig, true, 0xB0);
    CHECK(load_be32(&limits[20]) == 0);
    CHECK(load_be32(&limits[24]) == 0);
}

TEST_CASE("a LUN that is not there answers inquiry with qualifier 011b") {
    Rig rig;
    for (const std::uint64_t lun :
         {0x0001000000000000ull, 0x4001000000000000ull, 0x0000000100000000ull,
          0xC101000000000000ull, 0x0100000000000000ull, 0x7FFF000000000000ull}) {
        Command& standard = rig.run(rig.first, cdb(0x12).be16(3, 255), {}, lun);
        REQUIRE(standard.good());
        CHECK(standard.data_in()[0] == 0x7F);
        CHECK(rig.run(rig.first, cdb(0x00), {}, lun).sense(5, 0x25, 0x00));
        CHECK(rig.run(rig.first, read10(0, 1), {}, lun).sense(5, 0x25, 0x00));
        CHECK(rig.run(rig.first, cdb(0x12).u8(1, 1).u8(2, 0x83).be16(3, 255), {}, lun)
                  .sense(5, 0x24, 0x00));
        Command& sense = rig.run(rig.first, cdb(0x03).u8(4, 18), {}, lun);
        REQUIRE(sense.good());
        CHECK(to_hex(sense.data_in()).substr(0, 28) ==
              "70000500000000"
              "0a"
              "00000000"
              "2500");
    }
}

TEST_CASE("LUN 0 answers under peripheral and flat addressing") {
    Rig rig;
    CHECK(rig.run(rig.first, cdb(0x00), {}, 0).good());
    CHECK(rig.run(rig.first, cdb(0x00), {}, 0x4000000000000000ull).good());
}

TEST_CASE("report luns") {
    Rig rig;
    const auto report = [&](unsigned select, std::uint32_t room) -> Command& {
        return rig.run(cdb(0xA0).u8(2, select).be32(6, room));
    };
    for (const unsigned select : {0u, 2u})
        CHECK(to_hex(report(select, 64).data_in()) ==
              "0000000800000000"
              "0000000000000000");
    CHECK(to_hex(report(1, 64).data_in()) == "0000000000000000");
    CHECK(report(3, 64).sense(5, 0x24, 0x00));
    CHECK(report(0, 15).sense(5, 0x24, 0x00));
    Command& elsewhere = rig.run(rig.first, cdb(0xA0).be32(6, 64), {}, 0x0005000000000000ull);
    CHECK(elsewhere.data_in().size() == 16);
}
