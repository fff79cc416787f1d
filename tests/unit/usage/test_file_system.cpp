// What a partition holds, by its first bytes.
#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "target/usage/file_system.hpp"

using namespace goldlink::usage;

namespace {

using Start = std::vector<std::uint8_t>;

void put(Start& start, std::size_t at, std::string_view bytes) {
    std::memcpy(start.data() + at, bytes.data(), bytes.size());
}

Start fat_start() {
    Start start(kDetectBytes);
    put(start, 0, std::string_view("\xeb\x3c\x90mtools\0\0\0\x02\x08\x01\0\x02", 17));
    start[21] = 0xf8;
    start[510] = 0x55;
    start[511] = 0xaa;
    return start;
}

}  // namespace

TEST_CASE("file systems are known by their marks") {
    struct Row {
        std::size_t at;
        std::string_view bytes;
        std::string_view name;
        bool readable;
    };
    const auto row = GENERATE(
        Row{3, "NTFS    ", "NTFS", true}, Row{3, "EXFAT   ", "exFAT", true},
        Row{1024 + 56, "\x53\xef", "ext", true}, Row{3, "-FVE-FS-", "BitLocker", false},
        Row{0, "LUKS\xba\xbe", "LUKS", false}, Row{4096 - 10, "SWAPSPACE2", "swap", false},
        Row{65536 - 10, "SWAPSPACE2", "swap", false}, Row{0, "XFSB", "XFS", false},
        Row{65536 + 64, "_BHRfS_M", "Btrfs", false}, Row{32, "NXSB", "APFS", false},
        Row{32769, "CD001", "ISO 9660", false}, Row{4096, "\xfc\x4e\x2b\xa9", "Linux RAID", false});
    Start start(kDetectBytes);
    CHECK(detect(start) == FileSystem::unknown);
    put(start, row.at, row.bytes);
    CHECK(name_of(detect(start)) == row.name);
    CHECK(is_readable(detect(start)) == row.readable);
    // A partition that is too short for the mark has none.
    CHECK(detect(std::span(start).first(row.at)) == FileSystem::unknown);
}

TEST_CASE("a label of LVM may stand in any of the first four sectors") {
    Start start(kDetectBytes);
    const std::size_t sector = GENERATE(0u, 1u, 2u, 3u);
    put(start, sector * 512, "LABELONE");
    CHECK(detect(start) == FileSystem::unknown);
    put(start, sector * 512 + 24, "LVM2 001");
    CHECK(detect(start) == FileSystem::lvm);
}

TEST_CASE("FAT is what makes sense as FAT") {
    Start start = fat_start();
    CHECK(detect(start) == FileSystem::fat);
    SECTION("no signature") { start[510] = 0; }
    SECTION("sectors of a size there is not") { start[11] = 1; }
    SECTION("clusters of a size there is not") { start[13] = 3; }
    SECTION("no tables") { start[16] = 0; }
    CHECK(detect(start) == FileSystem::unknown);
}

TEST_CASE("what an earlier file system left further in does not count") {
    Start start = fat_start();
    put(start, 65536 + 64, "_BHRfS_M");
    CHECK(detect(start) == FileSystem::fat);
    Start ext(kDetectBytes);
    put(ext, 1024 + 56, "\x53\xef");
    put(ext, 32769, "CD001");
    CHECK(detect(ext) == FileSystem::ext);
}
