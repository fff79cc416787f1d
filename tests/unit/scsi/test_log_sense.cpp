// LOG SENSE, and what is told about space.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

Cdb log_sense(unsigned page, unsigned subpage = 0, std::uint16_t pointer = 0) {
    return cdb(0x4D).u8(2, page).u8(3, subpage).be16(5, pointer).be16(7, 255);
}

// A rig whose disk counts its space.
struct CountingRig {
    struct CountingDisk : MemoryDisk {
        explicit CountingDisk(disk::Geometry geometry) : MemoryDisk(geometry) {}
        std::optional<disk::ThinSpace> space() const override { return counted; }
        disk::ThinSpace counted{(3u << 20) + 1, (5u << 20) + 1};
    };
    Rig rig;
    std::shared_ptr<CountingDisk> disk =
        std::make_shared<CountingDisk>(disk::Geometry{.size_bytes = 16u << 20});

    CountingRig() {
        for (Nexus** nexus : {&rig.first, &rig.second})
            rig.device->close_nexus(std::exchange(*nexus, nullptr));
        std::vector<LogicalUnitDefinition> units(1);
        units[0].disk = disk;
        rig.device = std::make_unique<Device>("iqn.2026-11.io.goldlink:counts", std::move(units));
        rig.first = rig.device->open_nexus("iqn.2026-11.test:one,i,0x1", 1);
        rig.second = rig.device->open_nexus("iqn.2026-11.test:two,i,0x2", 1);
        for (Nexus* nexus : {rig.first, rig.second}) rig.run(nexus, cdb(0x00));
    }
};

}  // namespace

TEST_CASE("log sense lists its pages and subpages") {
    Rig plain;
    CHECK(to_hex(plain.run(log_sense(0x40)).data_in()) == "0000000100");
    CHECK(to_hex(plain.run(log_sense(0x40, 0xFF)).data_in()) == "40ff0004000000ff");
    CHECK(plain.run(log_sense(0x4C)).sense(5, 0x24, 0x00));  // its disk does not count
    CountingRig counting;
    CHECK(to_hex(counting.rig.run(log_sense(0x40)).data_in()) == "00000002000c");
    CHECK(to_hex(counting.rig.run(log_sense(0x40, 0xFF)).data_in()) == "40ff0006000000ff0c00");
}

TEST_CASE("the logical block provisioning page counts the overlay in sets of 1 MiB") {
    CountingRig counting;
    const std::string available =
        "0001"
        "0308"
        "00000005"
        "01000000";
    const std::string used =
        "0002"
        "0308"
        "00000004"
        "01000000";
    CHECK(to_hex(counting.rig.run(log_sense(0x4C)).data_in()) == "0c000018" + available + used);
    CHECK(to_hex(counting.rig.run(log_sense(0x4C, 0, 2)).data_in()) == "0c00000c" + used);
    CHECK(counting.rig.run(log_sense(0x4C, 0, 3)).sense(5, 0x24, 0x00));
    // VPD B2 says what a set is: 2048 blocks of 512 bytes.
    CHECK(counting.rig.run(cdb(0x12).u8(1, 1).u8(2, 0xB2).be16(3, 255)).data_in()[4] == 11);
}

TEST_CASE("log sense: what is refused") {
    Rig rig;
    CHECK(rig.run(log_sense(0x4D)).sense(5, 0x24, 0x00));  // no sensors
    CHECK(rig.run(log_sense(0x40, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(log_sense(0x40, 0, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(log_sense(0x40).u8(1, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(log_sense(0x40).u8(1, 2)).sense(5, 0x24, 0x00));
    CHECK(rig.run(log_sense(0x40).be16(7, 2)).data_in().size() == 2);
}

TEST_CASE("little space is told to all who asked for it") {
    Rig rig;
    rig.device->space_warning(0);
    CHECK(rig.run(cdb(0x00)).good());
    std::vector<std::uint8_t> list(16);
    list[4] = 0x01;
    list[5] = 10;
    list[11] = 0x80;  // LBPERE
    REQUIRE(rig.run(cdb(0x15).u8(1, 0x10).u8(4, 16), list).good());
    CHECK(rig.run(rig.second, cdb(0x00)).sense(6, 0x2A, 0x01));
    rig.device->space_warning(0);
    for (Nexus* nexus : {rig.first, rig.second}) {
        CHECK(rig.run(nexus, cdb(0x00)).sense(6, 0x38, 0x07));
        CHECK(rig.run(nexus, cdb(0x00)).good());
    }
}
