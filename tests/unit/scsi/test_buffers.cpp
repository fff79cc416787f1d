// READ BUFFER and WRITE BUFFER: the echo buffer.
#include "common/hex.hpp"
#include "tests/unit/scsi/scsi_rig.hpp"

using namespace goldlink;
using namespace goldlink::scsi;
using namespace goldlink::scsi::testing;

TEST_CASE("the echo buffer gives back what was written, whole or cut, and nothing before") {
    Rig rig;
    const auto write = [](std::uint32_t length) {
        return cdb(0x3B).u8(1, 0x0A).be16(7, static_cast<std::uint16_t>(length));
    };
    const auto read = [](unsigned mode, std::uint16_t length) {
        return cdb(0x3C).u8(1, mode).be16(7, length);
    };
    CHECK(rig.run(read(0x0A, 512)).sense(5, 0x2C, 0x00));
    CHECK(to_hex(rig.run(read(0x0B, 64)).data_in()) == "00001000");
    CHECK(to_hex(rig.run(read(0x03, 64)).data_in()) == "00000000");
    const auto sent = pattern(4096, 7);
    REQUIRE(rig.run(write(4096), sent).good());
    CHECK(copy(rig.run(rig.second, read(0x0A, 8000)).data_in()) == sent);
    CHECK(copy(rig.run(read(0x0A, 10)).data_in()) == copy(Bytes(sent).first(10)));
    REQUIRE(rig.run(write(3), pattern(3, 9)).good());
    CHECK(copy(rig.run(read(0x0A, 512)).data_in()) == pattern(3, 9));
    CHECK(rig.run(write(4097), pattern(4097, 1)).sense(5, 0x24, 0x00));
    CHECK(rig.run(write(512), pattern(100, 1)).sense(5, 0x1A, 0x00));
    REQUIRE(rig.run(write(4).u8(2, 1).u8(5, 9), pattern(4, 2)).good());
    CHECK(copy(rig.run(read(0x0A, 512).u8(2, 7)).data_in()) == pattern(4, 2));
    CHECK(rig.run(cdb(0x3B).u8(1, 0x05), {}).sense(5, 0x24, 0x00));  // microcode
    CHECK(rig.run(read(0x02, 64)).sense(5, 0x24, 0x00));
}
