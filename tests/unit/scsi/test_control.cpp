// Capacity, mode pages, sense, unit attentions, supported operation codes.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

TEST_CASE("read capacity") {
    Rig rig;
    CHECK(to_hex(rig.run(cdb(0x25)).data_in()) ==
          "0001ffff"
          "00000200");
    CHECK(rig.run(cdb(0x25).be32(2, 1)).sense(5, 0x24, 0x00));
    CHECK(to_hex(rig.run(cdb(0x9E).u8(1, 0x10).be32(10, 32)).data_in()) ==
          "000000000001ffff"
          "00000200"
          "00"
          "03"
          "c000" +
              std::string(32, '0'));
    CHECK(rig.run(cdb(0x9E).u8(1, 0x10).be32(10, 12)).data_in().size() == 12);
}

TEST_CASE("read capacity 10 of a disk it cannot count says all ones") {
    class Huge : public MemoryDisk {
      public:
        Huge() : MemoryDisk({.size_bytes = 4096}) {}
        const disk::Geometry& geometry() const override { return huge; }
        disk::Geometry huge{.size_bytes = std::uint64_t{3} << 40};
    };
    std::vector<LogicalUnitDefinition> units(1);
    units[0].disk = std::make_shared<Huge>();
    Rig rig;
    for (Nexus** nexus : {&rig.first, &rig.second})
        rig.device->close_nexus(std::exchange(*nexus, nullptr));
    rig.device = std::make_unique<Device>("iqn.2026-11.io.goldlink:huge", std::move(units));
    rig.first = rig.device->open_nexus("iqn.2026-11.test:one,i,0x1", 1);
    rig.run(cdb(0x00));
    CHECK(to_hex(rig.run(cdb(0x25)).data_in()) ==
          "ffffffff"
          "00000200");
}

TEST_CASE("get lba status walks mapped and free runs") {
    Rig rig;
    REQUIRE(rig.run(write10(16, 8), pattern(4096, 1)).good());
    Command& status = rig.run(cdb(0x9E).u8(1, 0x12).be64(2, 8).be32(10, 56));
    REQUIRE(status.good());
    CHECK(to_hex(status.data_in()) ==
          "00000034"
          "00000000"
          "0000000000000008"
          "00000008"
          "01000000"
          "0000000000000010"
          "00000008"
          "00000000"
          "0000000000000018"
          "0001ffe8"
          "01000000");
    CHECK(
        rig.run(cdb(0x9E).u8(1, 0x12).be64(2, kDiskBytes / 512).be32(10, 24)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0x9E).u8(1, 0x12).be32(10, 23)).sense(5, 0x24, 0x00));
}

TEST_CASE("mode sense 6 returns all pages behind header and block descriptor") {
    Rig rig;
    CHECK(to_hex(rig.run(cdb(0x1A).u8(2, 0x3F).u8(4, 255)).data_in()) ==
          "43001008"
          "0002000000000200"
          "010a00000000000000000000"
          "08120400000000000000000000000000000000"
          "00"
          "0a0a00100000"
          "0000ffff"
          "0000"
          "1c0a08000000000000000000");
}

TEST_CASE("mode sense: DBD, LLBAA, page control, subpages, truncation") {
    Rig rig;
    CHECK(to_hex(rig.run(cdb(0x1A).u8(1, 8).u8(2, 0x08).u8(4, 255)).data_in()) ==
          "17001000"
          "08120400" +
              std::string(32, '0'));
    CHECK(to_hex(rig.run(cdb(0x5A).u8(1, 0x10).u8(2, 0x1C).be16(7, 255)).data_in()) ==
          "0022001001000010"
          "0000000000020000"
          "00000000"
          "00000200"
          "1c0a08000000000000000000");
    // changeable values
    CHECK(to_hex(rig.run(cdb(0x1A).u8(1, 8).u8(2, 0x4A).u8(4, 255)).data_in()) ==
          "0f001000"
          "0a0a04000800000000000000");
    CHECK(rig.run(cdb(0x1A).u8(2, 0xCA).u8(4, 255)).sense(5, 0x39, 0x00));  // saved
    CHECK(rig.run(cdb(0x1A).u8(2, 0x3F).u8(3, 0xFF).u8(4, 255)).data_in().size() == 68);
    CHECK(rig.run(cdb(0x1A).u8(2, 0x0A).u8(3, 0x01).u8(4, 255)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x1A).u8(2, 0x02).u8(4, 255)).sense(5, 0x24, 0x00));
    CHECK(to_hex(rig.run(cdb(0x1A).u8(2, 0x3F).u8(4, 4)).data_in()) == "43001008");
}

TEST_CASE("mode select changes what may change, tells the other nexus, refuses the rest") {
    Rig rig;
    std::vector<std::uint8_t> list = {0, 0, 0, 0, 0x0A, 10,   0x04, 0x10,
                                      0, 0, 0, 0, 0xFF, 0xFF, 0,    0};
    const auto select = [&](unsigned flags = 0x10) -> Command& {
        return rig.run(cdb(0x15).u8(1, flags).u8(4, static_cast<unsigned>(list.size())), list);
    };
    CHECK(select(0x00).sense(5, 0x24, 0x00));  // PF
    CHECK(select(0x11).sense(5, 0x24, 0x00));  // SP
    CHECK(select().good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x01));
    CHECK(rig.run(cdb(0x00)).good());
    // D_SENSE is on from the next command
    CHECK(rig.run(cdb(0xFF)).task.descriptor_sense);

    list[7] = 0x00;  // queue algorithm modifier may not change
    Command& refused = select();
    CHECK(refused.sense(5, 0x26, 0x00));
    CHECK_FALSE(refused.task.sense.field_in_cdb);
    CHECK(refused.task.sense.field_byte == 7);
    list[7] = 0x10;
    list[5] = 9;  // page length
    CHECK(select().sense(5, 0x26, 0x00));
    list[5] = 10;
    list.pop_back();
    CHECK(select().sense(5, 0x1A, 0x00));
    list = {0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0};  // 1024-byte blocks
    CHECK(select().sense(5, 0x26, 0x00));
    list[10] = 2;
    CHECK(select().good());
    list = {0, 0};
    CHECK(select().sense(5, 0x1A, 0x00));
    list.clear();
    CHECK(select().good());
}

TEST_CASE("software write protect refuses writes until it is cleared") {
    Rig rig;
    std::vector<std::uint8_t> list = {0, 0,    0,    0, 0, 0, 0,    0,    0x0A, 10,
                                      0, 0x10, 0x08, 0, 0, 0, 0xFF, 0xFF, 0,    0};
    REQUIRE(rig.run(cdb(0x55).u8(1, 0x10).be16(7, 20), list).good());
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).sense(7, 0x27, 0x00));
    CHECK(rig.run(cdb(0x1A).u8(2, 0x3F).u8(4, 255)).data_in()[2] == 0x90);
    list[12] = 0;
    REQUIRE(rig.run(cdb(0x55).u8(1, 0x10).be16(7, 20), list).good());
    CHECK(rig.run(write10(0, 1), pattern(512, 1)).good());
}

TEST_CASE("unknown commands and service actions") {
    Rig rig;
    for (const unsigned opcode : {0x04u, 0x7Fu, 0x83u, 0x84u, 0x9Cu, 0xC0u, 0xFFu}) {
        CAPTURE(opcode);
        CHECK(rig.run(Cdb{}.u8(0, opcode)).sense(5, 0x20, 0x00));
    }
    Command& action = rig.run(cdb(0x9E).u8(1, 0x1E));
    CHECK(action.sense(5, 0x24, 0x00));
    CHECK(action.task.sense.field_byte == 1);
    CHECK(rig.run(cdb(0x00).u8(5, 0x04)).sense(5, 0x24, 0x00));  // NACA
}

TEST_CASE("a unit attention is told once, and not to the commands that must pass") {
    Rig rig;
    Nexus* third = rig.device->open_nexus("iqn.2026-11.test:three,i,0x1", 1);
    CHECK(rig.run(third, cdb(0x12).be16(3, 36)).good());
    CHECK(rig.run(third, cdb(0xA0).be32(6, 64)).good());
    CHECK(rig.run(third, read10(0, 1)).sense(6, 0x29, 0x00));
    CHECK(rig.run(third, read10(0, 1)).good());
    rig.device->close_nexus(third);

    Nexus* fourth = rig.device->open_nexus("iqn.2026-11.test:four,i,0x1", 1);
    CHECK(to_hex(rig.run(fourth, cdb(0x03).u8(4, 252)).data_in()) ==
          "7000060000000"
          "00a00000000290000000000");
    CHECK(rig.run(fourth, cdb(0x00)).good());
    CHECK(to_hex(rig.run(fourth, cdb(0x03).u8(1, 1).u8(4, 252)).data_in()) == "7200000000000000");
    rig.device->close_nexus(fourth);
}

TEST_CASE("sense data is encoded fixed and as descriptors") {
    std::array<std::uint8_t, 64> raw{};
    Sense sense;
    sense.key = 0xE;
    sense.asc = 0x1D;
    sense.has_information = true;
    sense.information = 0x1234;
    REQUIRE(encode_sense(sense, false, raw) == 18);
    CHECK(to_hex(Bytes(raw).first(18)) ==
          "f0000e00001234"
          "0a"
          "00000000"
          "1d00"
          "00000000");
    REQUIRE(encode_sense(sense, true, raw) == 20);
    CHECK(to_hex(Bytes(raw).first(20)) ==
          "720e1d000000000c"
          "000a8000"
          "0000000000001234");
    sense.information = std::uint64_t{1} << 32;
    REQUIRE(encode_sense(sense, false, raw) == 18);
    CHECK(raw[0] == 0x70);
    Sense field;
    field.key = 5;
    field.asc = 0x24;
    field.has_field_pointer = true;
    field.field_byte = 0x0102;
    encode_sense(field, false, raw);
    CHECK(to_hex(Bytes(raw).subspan(15, 3)) == "c00102");
    REQUIRE(encode_sense(field, true, raw) == 16);
    CHECK(to_hex(Bytes(raw).first(16)) ==
          "7205240000000008"
          "02060000"
          "c0010200");
}

TEST_CASE(
    "report supported operation codes: each listed command can be asked for and answers alike") {
    Rig rig;
    const auto all = copy(rig.run(cdb(0xA3).u8(1, 0x0C).be32(6, 4096)).data_in());
    REQUIRE(load_be32(&all[0]) == all.size() - 4);
    REQUIRE((all.size() - 4) % 8 == 0);
    CHECK(all.size() > 20 * 8);
    for (std::size_t at = 4; at < all.size(); at += 8) {
        const bool by_action = (all[at + 5] & 1) != 0;
        const std::uint16_t length = load_be16(&all[at + 6]);
        const auto one = copy(rig.run(cdb(0xA3)
                                          .u8(1, 0x0C)
                                          .u8(2, by_action ? 2 : 1)
                                          .u8(3, all[at])
                                          .be16(4, load_be16(&all[at + 2]))
                                          .be32(6, 64))
                                  .data_in());
        CAPTURE(all[at]);
        REQUIRE(one.size() == 4u + length);
        CHECK(one[1] == 0x03);
        CHECK(load_be16(&one[2]) == length);
        CHECK(one[4] == all[at]);
        if (by_action) CHECK((one[5] & 0x1F) == all[at + 3]);
    }
    // with timeouts each entry has 12 bytes more
    const auto timed = rig.run(cdb(0xA3).u8(1, 0x0C).u8(2, 0x80).be32(6, 8192)).data_in();
    CHECK((timed.size() - 4) / 20 == (all.size() - 4) / 8);
}

TEST_CASE("report supported operation codes: unknown, mismatched options, truncation") {
    Rig rig;
    const auto ask = [&](unsigned options, unsigned opcode, std::uint16_t action) -> Command& {
        return rig.run(
            cdb(0xA3).u8(1, 0x0C).u8(2, options).u8(3, opcode).be16(4, action).be32(6, 64));
    };
    CHECK(to_hex(ask(1, 0x83, 0).data_in()) == "00010000");
    CHECK(to_hex(ask(3, 0x9E, 0x1F).data_in()) == "00010000");
    CHECK(to_hex(ask(3, 0x00, 0).data_in()) ==
          "00030006"
          "000000000000");
    CHECK(ask(1, 0x9E, 0).sense(5, 0x24, 0x00));
    CHECK(ask(2, 0x28, 0).sense(5, 0x24, 0x00));
    CHECK(ask(4, 0, 0).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0xA3).u8(1, 0x0D).be32(6, 16)).data_in()[0] == 0xDA);
    CHECK(rig.run(cdb(0xA3).u8(1, 0x0D).u8(2, 0x80).be32(6, 16)).data_in().size() == 16);
}
