// What a file is judged to be by its first and last bytes, and what a disk's partition table
// claims.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "common/foreign_files.hpp"
#include "common/image_magic.hpp"
#include "common/image_verdict.hpp"
#include "common/partition_claim.hpp"
#include "tests/unit/random_bytes.hpp"

using namespace goldlink;
using namespace std::string_view_literals;
using Catch::Contains;
using goldlink::test::random_bytes;

namespace {

using File = std::vector<std::uint8_t>;

void put(File& file, std::size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), file.begin() + static_cast<std::ptrdiff_t>(at));
}

File with(std::size_t at, std::string_view text, std::size_t length = 1 << 20) {
    File file = random_bytes(length, 5);
    put(file, at, text);
    return file;
}

// "taken", or why not.
std::string verdict(const File& file, std::string_view format = "",
                    std::string_view name = "some.img", bool whole = true) {
    const Bytes bytes(file);
    FileLook look{name, file.size(), bytes.first(std::min(file.size(), kMagicFirstBytes)), {}};
    if (whole) look.last = bytes.last(std::min(file.size(), kMagicLastBytes));
    const auto checked = check_importable(look, format);
    return checked ? "taken" : checked.error().message;
}

File mbr(std::uint32_t first, std::uint32_t count, std::uint8_t type = 7) {
    File disk(1 << 20, 0);
    put(disk, 510, "\x55\xaa");
    disk[446 + 4] = type;
    store_le32(disk.data() + 446 + 8, first);
    store_le32(disk.data() + 446 + 12, count);
    return disk;
}

File gpt(std::uint32_t block_bytes, std::uint64_t backup) {
    File disk = mbr(1, 0xffffffff, 0xee);
    put(disk, block_bytes, "EFI PART");
    store_le64(disk.data() + block_bytes + 24, 1);
    store_le64(disk.data() + block_bytes + 32, backup);
    return disk;
}

}  // namespace

TEST_CASE("files that are known and not read here are named with what to do") {
    const struct {
        std::size_t at;
        std::string_view magic, what, todo;
    } cases[] = {
        {64, "\x7f\x10\xda\xbe"sv, "VDI", "qemu-img convert"},
        {0, "7z\xbc\xaf\x27\x1c"sv, "7z", "7z x"},
        {0, "\x04\x22\x4d\x18"sv, "lz4", "lz4 -d"},
        {0, "LZIP"sv, "lzip", "lzip -d"},
        {0, "Rar!\x1a\x07"sv, "RAR", "unrar"},
        {0, "QFI\xfb\0\0\0\1"sv, "qcow of version 1", "qemu-img convert"},
        {0, "QED\0"sv, "QED", "qemu-img convert"},
        {0, "WithoutFreeSpace"sv, "Parallels", "qemu-img convert"},
        {0, "MSWIM\0\0\0"sv, "WIM", "DISM"},
        {0, "VMA\0"sv, "VMA", "vma extract"},
        {0, "<!DOCTYPE html>"sv, "web page", "download it again"},
    };
    for (const auto& one : cases) {
        INFO(one.what);
        // With a boot sector's signature, too, by which anything could be a disk.
        for (const bool signature : {false, true}) {
            File file = with(one.at, one.magic);
            if (signature) put(file, 510, "\x55\xaa");
            CHECK_THAT(verdict(file), Contains("some.img is") && Contains(std::string(one.what)) &&
                                          Contains(std::string(one.todo)) &&
                                          !Contains("format raw"));
            CHECK(verdict(file, "raw") == "taken");
        }
    }
    const File dmg = with((1 << 20) - 512, "koly\0\0\0\4"sv);
    CHECK_THAT(verdict(dmg), Contains("DMG") && Contains("qemu-img convert -f dmg"));
    CHECK(foreign_file(Bytes(dmg).first(512), Bytes()) == nullptr);
}

TEST_CASE("packed files are known by their magic, zstd's behind frames to be skipped") {
    CHECK(compression_magic(with(0, "BZh91AY&SY"sv)) == "bzip2");
    CHECK(compression_magic(with(0, "BZh9nothing"sv)).empty());
    CHECK(archive_magic(with(0, "PK\x03\x04"sv)) == "zip");
    CHECK(archive_magic(with(257, "ustar"sv)) == "tar");
    const std::string frame = "\x28\xb5\x2f\xfd";
    const std::string skip("\x5e\x2a\x4d\x18\x03\0\0\0abc", 11);
    CHECK(compression_magic(with(0, frame)) == "zstd");
    CHECK(compression_magic(with(0, skip + frame)) == "zstd");
    CHECK(compression_magic(with(0, skip + skip + frame)) == "zstd");
    CHECK(compression_magic(with(0, skip + "\x04\x22\x4d\x18")).empty());
    CHECK(compression_magic(File(skip.begin(), skip.end())) == "zstd");  // the rest is to come
    CHECK(compression_magic(with(0, "\x50\x2a\x4d\x18\xff\xff\xff\xff"sv)) == "zstd");
    for (const std::string_view magic : {"\x1f\x8b\x08"sv, "PK\x03\x04"sv})
        for (const std::string_view format : {"", "vhdx", "iso", "raw"})
            CHECK(verdict(with(0, magic), format) == "taken");
}

TEST_CASE("a named format is checked by the first bytes") {
    const File qcow2 = with(0, "QFI\xfb\0\0\0\3"sv);
    CHECK(verdict(qcow2) == "taken");
    CHECK(verdict(qcow2, "qcow2") == "taken");
    CHECK_THAT(verdict(qcow2, "vhdx"), Contains("is not vhdx: it is qcow2"));
    CHECK_THAT(verdict(qcow2, "vhd"), Contains("is not vhd: it is qcow2"));
    CHECK_THAT(verdict(qcow2, "iso"), Contains("no ISO image"));
    CHECK_THAT(verdict(mbr(1, 1), "vmdk"), Contains("is not vmdk: it does not begin as one"));
    CHECK(verdict(mbr(1, 1), "vhd") == "taken");  // a fixed one begins as its disk
}

TEST_CASE(
    "of what is no disk the first bytes are enough; what they leave open waits for the rest") {
    CHECK_THAT(verdict(with(0, "hello"), "", "a.img", false), Contains("no disk image"));
    CHECK(verdict(File(1 << 20, 0), "", "a.img", false) == "taken");
    CHECK_THAT(verdict(File(1 << 20, 0)), Contains("no disk image") && Contains("format raw"));
    CHECK(verdict(with(0, "hello"), "", "a.VHD", false) == "taken");  // its footer tells
    CHECK_THAT(verdict(File(2048, 'a')), Contains("no disk image") && !Contains("format raw"));
    CHECK_THAT(verdict(File(1 << 20, 'a')), !Contains("format raw"));
    CHECK_THAT(verdict(with(0, "x", (1 << 20) + 1)), !Contains("format raw"));
}

TEST_CASE("a disc is told from a disk, with a boot sector in front, too") {
    File disc = with(16 * 2048 + 1, "CD001");
    CHECK_THAT(verdict(disc), Contains("format iso"));
    CHECK(verdict(disc, "iso") == "taken");
    CHECK(verdict(disc, "raw") == "taken");
    put(disc, 510, "\x55\xaa");
    CHECK_THAT(verdict(disc), Contains("format iso"));
}

TEST_CASE("a partition table says how large its disk is, and in which blocks") {
    CHECK(partition_claim(mbr(2048, 4096)).disk_bytes == 6144 * 512);
    CHECK(partition_claim(mbr(2048, 4096)).block_bytes == 0);
    CHECK(partition_claim(mbr(1, 0xffffffff, 0xee)).disk_bytes == 0);
    CHECK(partition_claim(gpt(512, 131071)).disk_bytes == 64 << 20);
    CHECK(partition_claim(gpt(512, 131071)).block_bytes == 512);
    CHECK(partition_claim(gpt(4096, 16383)).disk_bytes == 64 << 20);
    CHECK(partition_claim(gpt(4096, 16383)).block_bytes == 4096);
    CHECK(partition_claim(gpt(512, ~std::uint64_t{0})).disk_bytes == 0);
    CHECK(partition_claim(File(512, 0xff)).disk_bytes == 0);
    CHECK(partition_claim({}).disk_bytes == 0);
    File ntfs = mbr(2048, 0x40000000);
    put(ntfs, 3, "NTFS    ");
    CHECK(partition_claim(ntfs).disk_bytes == 0);
    File code = mbr(2048, 0x40000000);
    code[446 + 16] = 0x33;  // no flag of an entry
    CHECK(partition_claim(code).disk_bytes == 0);
}

TEST_CASE("a disk that its table says is larger was cut short") {
    CHECK(verdict(mbr(1, (1 << 20) / 512 - 1)) == "taken");
    CHECK_THAT(verdict(mbr(1, (1 << 20) / 512)),
               Contains("was cut short") && Contains("1049088") && Contains("1048576"));
    CHECK(verdict(gpt(512, (1 << 20) / 512 - 1)) == "taken");
    CHECK_THAT(verdict(gpt(512, (1 << 20) / 512)), Contains("was cut short"));
    CHECK_THAT(verdict(gpt(4096, (1 << 20) / 4096)), Contains("was cut short"));
    CHECK(verdict(gpt(512, 100)) == "taken");  // it grew
    CHECK(verdict(gpt(512, (1 << 20) / 512), "raw") == "taken");
}
