// The third-party copy page (8Fh; SPC-4 7.8.17, SBC-3 6.6.6): what of copies and of tokens is done,
// and the limits.
#include <map>
#include <string>

#include "common/hex.hpp"
#include "tests/unit/scsi/copy_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

namespace {

// By type, in hexadecimal.
std::map<unsigned, std::string> descriptors_of(CopyRig& rig) {
    const auto page = copy(rig.run(cdb(0x12).u8(1, 1).u8(2, 0x8F).be16(3, 1024)).data_in());
    REQUIRE(page.size() > 4);
    CHECK(load_be16(&page[2]) == page.size() - 4);
    std::map<unsigned, std::string> descriptors;
    unsigned last = 0;
    for (std::size_t at = 4; at < page.size();) {
        REQUIRE(page.size() - at >= 4);
        const unsigned type = load_be16(&page[at]);
        const std::size_t length = load_be16(&page[at + 2]);
        CHECK(length % 4 == 0);
        CHECK((descriptors.empty() || type > last));
        REQUIRE(page.size() - at - 4 >= length);
        descriptors[type] = to_hex(Bytes(page).subspan(at + 4, length));
        last = type;
        at += 4 + length;
    }
    return descriptors;
}

}  // namespace

TEST_CASE("the third-party copy page lists the table's commands and the limits") {
    CopyRig rig;
    CHECK(to_hex(rig.run(cdb(0x12).u8(1, 1).be16(3, 255)).data_in()).find("8f") !=
          std::string::npos);
    const auto descriptors = descriptors_of(rig);
    CHECK(descriptors.at(0x0001).substr(2, 2) == "83");
    CHECK(descriptors.at(0x0004) ==
          "00000000"
          "00080010"
          "000002c0"
          "00000000"
          "000000000000000000000000");
    CHECK(descriptors.at(0x0008) == "0202e400");
    CHECK(descriptors.at(0x000C) == "00000000");
    CHECK(descriptors.at(0x8001) ==
          "00000004"
          "00000004"
          "02000000"
          "0900" +
              std::string(36, '0'));
    Rig without;
    CHECK(without.run(cdb(0x12).u8(1, 1).u8(2, 0x8F).be16(3, 1024)).sense(5, 0x24, 0));
}

TEST_CASE("a device without clock and random bytes has no third-party copy") {
    Rig rig;
    CHECK(rig.run(copy_in(3, 0)).sense(5, 0x20, 0));
    CHECK(rig.run(copy_out(0, 0, 0)).sense(5, 0x20, 0));
    CHECK((rig.run(cdb(0x12).be16(3, 96)).data_in()[5] & 0x08) == 0);
    CopyRig with;
    CHECK((with.run(cdb(0x12).be16(3, 96)).data_in()[5] & 0x08) != 0);
    CHECK(with.run(copy_in(1, 0)).sense(5, 0x24, 0));
}

TEST_CASE("the third-party copy page tells the limits of tokens") {
    CopyRig rig;
    const auto descriptors = descriptors_of(rig);
    CHECK(descriptors.at(0x0000) ==
          "000000000000"
          "0040"
          "00000078"
          "0000001e"
          "0000000000080000"
          "0000000000020000");
    CHECK(descriptors.at(0x0001) ==
          "0b"
          "8303001011"
          "840400030407");
    CHECK(descriptors.at(0x0106) == "00" + std::string(22, '0') +
                                        "00000000"
                                        "00000258"
                                        "00000078" +
                                        std::string(36, '0') +
                                        "0030"
                                        "0000002c"
                                        "0000"
                                        "0008"
                                        "0000000010000000"
                                        "0000000004000000"
                                        "0000000004000000"
                                        "0000000004000000" +
                                        std::string(16, '0'));
    CHECK(descriptors.at(0x0108) ==
          "0000"
          "0080"
          "00800001"
          "03" +
              std::string(118, '0') +
              "ffff0001"
              "02" +
              std::string(118, '0'));
}
