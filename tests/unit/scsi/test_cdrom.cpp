// A CD-ROM unit: the replies byte by byte as MMC-6 has them, the tray, and what is refused.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

constexpr std::uint64_t kBlockBytes = 2048;
constexpr std::uint32_t kCdBlocks = 1000;
constexpr std::uint64_t kDvdBlocks = 400'000;  // more than 80 minutes

disk::Geometry disc(std::uint64_t blocks) {
    return {.size_bytes = blocks * kBlockBytes,
            .logical_block_bytes = 2048,
            .physical_block_bytes = 2048,
            .read_only = true,
            .thin = false};
}

// MemoryDisk would need all of a DVD's bytes.
class Nothing : public disk::Disk {
  public:
    explicit Nothing(disk::Geometry geometry) : geometry_(geometry) {}
    const disk::Geometry& geometry() const override { return geometry_; }
    disk::Submit submit(disk::Request& request) noexcept override {
        request.outcome = disk::Outcome::medium_error;
        return disk::Submit::done;
    }
    disk::Extent extent_at(std::uint64_t, std::uint64_t max_bytes) const override {
        return {max_bytes, true};
    }

  private:
    disk::Geometry geometry_;
};

struct CdRig : Rig {
    explicit CdRig(std::uint64_t blocks = kCdBlocks) : Rig(disc(kCdBlocks)) {
        if (blocks == kCdBlocks) return;
        for (Nexus* nexus : {first, second}) device->close_nexus(nexus);
        std::vector<LogicalUnitDefinition> units(1);
        units[0].type = DeviceType::cdrom;
        units[0].disk = std::make_shared<Nothing>(disc(blocks));
        device = std::make_unique<Device>("iqn.2026-11.io.goldlink:pc-001", std::move(units));
        first = device->open_nexus("iqn.2026-11.test:one,i,0x400001370000", 1);
        second = device->open_nexus("iqn.2026-11.test:two,i,0x400001370001", 1);
        for (Nexus* nexus : {first, second}) REQUIRE(run(nexus, cdb(0x00)).sense(6, 0x29, 0x00));
    }
    std::string reply(const Cdb& cdb) {
        Command& command = run(cdb);
        REQUIRE(command.good());
        return to_hex(command.data_in());
    }
    Command& eject(Nexus* nexus) { return run(nexus, cdb(0x1B).u8(4, 2)); }
    Command& load(Nexus* nexus) { return run(nexus, cdb(0x1B).u8(4, 3)); }
};

Cdb toc(unsigned format, bool msf, unsigned track = 0) {
    return cdb(0x43).u8(1, msf ? 2 : 0).u8(2, format).u8(6, track).be16(7, 255);
}
Cdb configuration(unsigned type, std::uint16_t from = 0) {
    return cdb(0x46).u8(1, type).be16(2, from).be16(7, 255);
}
Cdb event(unsigned classes) { return cdb(0x4A).u8(1, 1).u8(4, classes).be16(7, 255); }

}  // namespace

TEST_CASE("a CD-ROM is of type 5 with a removable medium, and has no pages of disks") {
    CdRig rig;
    const std::string inquiry = rig.reply(cdb(0x12).be16(3, 96));
    CHECK(inquiry.substr(0, 16) == "058006125b000002");
    CHECK(inquiry.substr(116, 16) == "00a00960046004e0");
    CHECK(rig.reply(cdb(0x12).u8(1, 1).be16(3, 255)) == "0500000400808386");
    CHECK(rig.reply(cdb(0x12).u8(1, 1).u8(2, 0x80).be16(3, 255)).substr(0, 8) == "0580000c");
    CHECK(rig.run(cdb(0x12).u8(1, 1).u8(2, 0xB0).be16(3, 255)).sense(5, 0x24, 0x00));
}

TEST_CASE("the disc has blocks of 2048 bytes") {
    CdRig rig;
    CHECK(rig.reply(cdb(0x25)) == "000003e700000800");
    CHECK(rig.reply(cdb(0x23).be16(7, 255)) == "00000008000003e802000800");
    const auto written = pattern(2 * kBlockBytes, 1);
    std::copy(written.begin(), written.end(), rig.disk->data() + 5 * kBlockBytes);
    CHECK(copy(rig.run(read10(5, 2)).data_in()) == written);
    CHECK(copy(rig.run(cdb(0xA8).be32(2, 5).be32(6, 2)).data_in()) == written);
    CHECK(copy(rig.run(cdb(0xBE).u8(1, 2 << 2).be32(2, 5).u8(8, 2).u8(9, 0x10)).data_in()) ==
          written);
    CHECK(rig.reply(cdb(0xBE).be32(2, 5).u8(8, 2)).empty());
    CHECK(rig.run(read10(999, 1)).good());
    CHECK(rig.run(read10(999, 2)).sense(5, 0x21, 0x00));
    CHECK(rig.run(read10(1000, 0)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0xBE).be32(2, 999).u8(8, 2).u8(9, 0x10)).sense(5, 0x21, 0x00));
    CHECK(rig.run(cdb(0xBE).u8(1, 1 << 2).be32(2, 5).u8(8, 1).u8(9, 0x10)).sense(5, 0x64, 0x00));
    CHECK(rig.run(cdb(0xBE).be32(2, 5).u8(8, 1).u8(9, 0xF8)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0xBE).be32(2, 5).u8(8, 1).u8(9, 0x10).u8(10, 1)).sense(5, 0x24, 0x00));
}

TEST_CASE("whatever writes is no command of a CD-ROM") {
    CdRig rig;
    for (const unsigned opcode : {0x04U, 0x0AU, 0x15U, 0x2AU, 0x2EU, 0x35U, 0x41U, 0x42U, 0x55U,
                                  0x5FU, 0x83U, 0x8AU, 0x8EU, 0x93U, 0xAAU, 0xAEU}) {
        INFO(opcode);
        CHECK(rig.run(cdb(static_cast<std::uint8_t>(opcode)).be16(7, 1), pattern(2048, 2))
                  .sense(5, 0x20, 0x00));
    }
    CHECK(rig.disk->submitted.empty());
}

TEST_CASE("the table of contents is of one data track, in blocks and in minutes") {
    CdRig rig;
    CHECK(rig.reply(toc(0, false)) == "0012010100140100000000000014aa00000003e8");
    CHECK(rig.reply(toc(0, true)) ==
          "001201010014010000000200"
          "0014aa0000000f19");
    CHECK(rig.reply(toc(0, false, 0xAA)) == "000a01010014aa00000003e8");
    CHECK(rig.run(toc(0, false, 2)).sense(5, 0x24, 0x00));
    CHECK(rig.reply(toc(1, false)) == "000a01010014010000000000");
    CHECK(rig.reply(cdb(0x43).u8(9, 0x40).be16(7, 255)) == "000a01010014010000000000");
    CHECK(rig.reply(toc(2, false)) ==
          "002e0101"
          "011400a000000000010000"
          "011400a100000000010000"
          "011400a200000000000f19"
          "0114000100000000000200");
    CHECK(rig.run(toc(3, false)).sense(5, 0x24, 0x00));
    CHECK(rig.reply(toc(0, false).be16(7, 4)) == "00120101");  // cut, and still says the whole
}

TEST_CASE("the disc and the drive say what they are") {
    CdRig rig;
    CHECK(rig.reply(cdb(0x51).be16(7, 255)) ==
          "00200e01010101200000000000000000ffffffffffffffff00000000000000000000");
    CHECK(rig.run(cdb(0x51).u8(1, 1).be16(7, 255)).sense(5, 0x24, 0x00));
    CHECK(rig.reply(cdb(0xBD).be16(8, 255)) == "0000000000010000");
    CHECK(rig.reply(configuration(0)) ==
          "0000003c00000008"
          "000003080010000000080100"
          "000107080000000101000000"
          "0003030429000000"
          "001001080000080000010000"
          "001e010400000000"
          "001f0000");
    CHECK(rig.reply(configuration(1, 0x1E)) == "0000000c00000008001e010400000000");
    CHECK(rig.reply(configuration(1, 0x1F)) == "0000000400000008");
    CHECK(rig.reply(configuration(2, 3)) == "0000000c000000080003030429000000");
    CHECK(rig.reply(configuration(2, 2)) == "0000000400000008");
    CHECK(rig.run(configuration(3)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0xAD).be16(8, 255)).sense(5, 0x30, 0x02));
}

TEST_CASE("mode pages of a CD-ROM cannot be changed") {
    CdRig rig;
    const auto page = [&](unsigned control_and_page) {
        return rig.reply(cdb(0x5A).u8(2, control_and_page).be16(7, 255));
    };
    CHECK(page(0x2A) ==
          "001c000000000000"
          "2a140b000000290"
          "01b9000000800"
          "1b90"
          "000000000000");
    CHECK(page(0x6A) ==
          "001c000000000000"
          "2a14" +
              std::string(40, '0'));
    CHECK(page(0x01).substr(16, 4) == "010a");
    CHECK(page(0x0E).substr(16, 4) == "0e0e");
    CHECK(page(0x3F).size() == 2 * (8 + 12 + 16 + 22));
    CHECK(rig.reply(cdb(0x1A).u8(2, 0x0E).u8(4, 255)).substr(0, 12) == "130000000e0e");
    CHECK(rig.run(cdb(0x5A).u8(2, 0x08).be16(7, 255)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x5A).u8(2, 0xEA).be16(7, 255)).sense(5, 0x39, 0x00));
}

TEST_CASE("what does not fit on a CD is a DVD") {
    CdRig rig(kDvdBlocks);
    CHECK(rig.reply(configuration(1)).substr(8, 24) ==
          "00000010"
          "00000308"
          "00100100");
    CHECK(rig.reply(configuration(2, 0x1F)) == "0000000800000010001f0100");
    const std::string layer = rig.reply(cdb(0xAD).be16(8, 0xFFFF));
    CHECK(layer.size() == 2 * 2052);
    CHECK(layer.substr(0, 40) ==
          "08020000010f0100"
          "00030000"
          "00091a7f"
          "00000000");
    CHECK(rig.reply(cdb(0xAD).u8(7, 1).be16(8, 255)) == "0006000000000000");
    CHECK(rig.run(cdb(0xAD).u8(7, 4).be16(8, 255)).sense(5, 0x24, 0x00));
    CHECK(rig.run(read10(7, 1)).sense(3, 0x11, 0x00));
}

TEST_CASE("an open tray has no disc, and a loaded disc is told to everybody") {
    CdRig rig;
    CHECK(rig.reply(event(0x10)) == "0006045000020000");
    REQUIRE(rig.eject(rig.first).good());
    for (const Cdb& each : {cdb(0x00), cdb(0x25), read10(0, 1), cdb(0xA8).u8(9, 1), toc(0, false),
                            cdb(0x51), cdb(0xBE), cdb(0xAD)}) {
        INFO(unsigned{each.raw[0]});
        CHECK(rig.run(each).sense(2, 0x3A, 0x02));
    }
    CHECK(rig.reply(event(0x10)) == "0006045003010000");  // media removal, told once
    CHECK(rig.reply(event(0x10)) == "0006045000010000");
    CHECK(rig.reply(configuration(2, 3)).substr(8, 8) == "00000000");
    CHECK(rig.reply(cdb(0x23).be16(7, 255)) == "000000080000000003000800");
    CHECK(rig.reply(cdb(0xBD).be16(8, 255)) == "0010000000010000");
    REQUIRE(rig.load(rig.first).good());
    for (Nexus* nexus : {rig.first, rig.second}) {
        CHECK(rig.run(nexus, event(0x10)).good());  // asked for although an attention waits
        CHECK(rig.run(nexus, cdb(0x00)).sense(6, 0x28, 0x00));
        CHECK(rig.run(nexus, cdb(0x00)).good());
    }
    CHECK(rig.load(rig.first).good());  // again: nothing changes
    CHECK(rig.run(rig.second, cdb(0x00)).good());
}

TEST_CASE("events of other classes, and events that nobody polls") {
    CdRig rig;
    CHECK(rig.reply(event(0x40)) == "0006065000000000");
    CHECK(rig.reply(event(0x02)) == "00028050");
    CHECK(rig.run(cdb(0x4A).u8(4, 0x10).be16(7, 255)).sense(5, 0x24, 0x00));
}

TEST_CASE("one initiator that prevents removal keeps the tray closed for all") {
    CdRig rig;
    REQUIRE(rig.run(rig.second, cdb(0x1E).u8(4, 1)).good());
    CHECK(rig.eject(rig.first).sense(5, 0x53, 0x02));
    CHECK(rig.run(cdb(0x1B).u8(4, 0)).good());  // STOP opens nothing
    REQUIRE(rig.run(rig.second, cdb(0x1E)).good());
    CHECK(rig.eject(rig.first).good());
    REQUIRE(rig.load(rig.first).good());
    REQUIRE(rig.run(rig.second, event(0x10)).good());
    for (Nexus* nexus : {rig.first, rig.second}) REQUIRE(rig.run(nexus, cdb(0)).sense(6, 0x28, 0));
    REQUIRE(rig.run(rig.second, cdb(0x1E).u8(4, 1)).good());
    rig.device->close_nexus(std::exchange(rig.second, nullptr));
    CHECK(rig.eject(rig.first).good());  // who is gone prevents nothing
    CHECK(rig.run(cdb(0x1E).u8(4, 2)).sense(5, 0x24, 0x00));
    CHECK(rig.run(cdb(0x1B).u8(4, 0x12)).sense(5, 0x24, 0x00));
}

TEST_CASE("a reset ends the prevention, and the disc is in again for the next who comes") {
    CdRig rig;
    REQUIRE(rig.run(rig.second, cdb(0x1E).u8(4, 1)).good());
    rig.device->manage(*rig.first, TaskManagement::logical_unit_reset, 0, nullptr);
    REQUIRE(rig.run(cdb(0x00)).sense(6, 0x29, 0x03));
    REQUIRE(rig.eject(rig.first).good());
    rig.device->close_nexus(std::exchange(rig.second, nullptr));
    CHECK(rig.run(cdb(0x00)).sense(2, 0x3A, 0x02));
    rig.second = rig.device->open_nexus("iqn.2026-11.test:two,i,0x400001370001", 1);
    REQUIRE(rig.run(rig.second, cdb(0x00)).sense(6, 0x29, 0x00));
    CHECK(rig.run(rig.second, cdb(0x00)).sense(2, 0x3A, 0x02));  // the first is still there
    for (Nexus** nexus : {&rig.first, &rig.second})
        rig.device->close_nexus(std::exchange(*nexus, nullptr));
    rig.first = rig.device->open_nexus("iqn.2026-11.test:one,i,0x400001370000", 1);
    REQUIRE(rig.run(cdb(0x00)).sense(6, 0x29, 0x00));
    CHECK(rig.run(cdb(0x00)).good());
}

TEST_CASE("a CD-ROM lists its own commands") {
    CdRig rig;
    const auto supported = [&](unsigned opcode) {
        return rig.reply(cdb(0xA3).u8(1, 0x0C).u8(2, 1).u8(3, opcode).be32(6, 64)).substr(2, 2);
    };
    CHECK(supported(0x43) == "03");
    CHECK(supported(0x2A) == "01");
}
