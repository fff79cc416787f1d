// Partition tables: what is one, and what only looks like one.
#include <catch2/catch.hpp>
#include <cstring>

#include "common/bytes.hpp"
#include "target/store/partitions.hpp"

using namespace goldlink;
using namespace goldlink::store;

namespace {

constexpr std::uint64_t kDisk = 64 << 20;
using Start = std::vector<std::uint8_t>;

Start empty_start() {
    Start start(64 << 10);
    start[510] = 0x55;
    start[511] = 0xaa;
    return start;
}
void put_mbr(Start& start, unsigned index, std::uint8_t type, std::uint32_t first,
             std::uint32_t count) {
    std::uint8_t* const entry = start.data() + 446 + index * 16;
    entry[4] = type;
    store_le32(entry + 8, first);
    store_le32(entry + 12, count);
}
Start gpt_start(std::size_t block) {
    Start start = empty_start();
    put_mbr(start, 0, 0xee, 1, 0xffffffff);
    std::uint8_t* const header = start.data() + block;
    std::memcpy(header, "EFI PART", 8);
    store_le64(header + 72, 2);
    store_le32(header + 80, 128);
    store_le32(header + 84, 128);
    return start;
}
void put_gpt(Start& start, std::size_t block, unsigned index, std::uint64_t first,
             std::uint64_t last) {
    std::uint8_t* const entry = start.data() + 2 * block + index * 128;
    entry[0] = 1;
    store_le64(entry + 32, first);
    store_le64(entry + 40, last);
}

}  // namespace

TEST_CASE("the partitions of an MBR, in the disk's logical blocks") {
    Start start = empty_start();
    CHECK(find_partitions(start, kDisk).empty());
    put_mbr(start, 0, 0x83, 4096, 8192);
    put_mbr(start, 2, 0x07, 2048, 2048);
    using All = std::vector<Partition>;
    CHECK(find_partitions(start, kDisk) == All{{3, 1 << 20, 1 << 20}, {1, 2 << 20, 4 << 20}});
    CHECK(find_partitions(start, kDisk, 4096) ==
          All{{3, 8 << 20, 8 << 20}, {1, 16 << 20, 32 << 20}});
    CHECK(find_partitions(std::span(start).first(511), kDisk).empty());
}

TEST_CASE("the partitions of a GPT, with blocks of 512 and of 4096 bytes") {
    const std::size_t block = GENERATE(std::size_t{512}, std::size_t{4096});
    Start start = gpt_start(block);
    put_gpt(start, block, 0, 256, 511);
    put_gpt(start, block, 4, 1024, 2047);
    CHECK(find_partitions(start, kDisk) ==
          std::vector<Partition>{{1, 256 * block, 256 * block}, {5, 1024 * block, 1024 * block}});
    CHECK(find_partitions(std::span(start).first(block + 91), kDisk).empty());
    put_gpt(start, block, 5, 2047, 2100);  // over the one before
    CHECK(find_partitions(start, kDisk).empty());
}

TEST_CASE("a table that contradicts itself or the disk is none") {
    Start start = empty_start();
    SECTION("a file system's boot sector") { std::memset(start.data() + 446, 0x42, 64); }
    SECTION("past the end") { put_mbr(start, 0, 0x83, 2048, 64 << 11); }
    SECTION("over each other") {
        put_mbr(start, 0, 0x83, 2048, 2048);
        put_mbr(start, 1, 0x83, 4095, 10);
    }
    SECTION("of no length") { put_mbr(start, 0, 0x83, 2048, 0); }
    SECTION("over itself") { put_mbr(start, 0, 0x83, 0, 10); }
    SECTION("a protective MBR without a GPT") { put_mbr(start, 0, 0xee, 1, 100); }
    SECTION("a GPT whose entries lie elsewhere") {
        start = gpt_start(512);
        put_gpt(start, 512, 0, 256, 511);
        store_le64(start.data() + 512 + 72, 1 << 20);
    }
    SECTION("a GPT of very large numbers") {
        start = gpt_start(512);
        put_gpt(start, 512, 0, 256, ~std::uint64_t{0});
    }
    SECTION("a GPT with too many entries") {
        start = gpt_start(512);
        put_gpt(start, 512, 0, 256, 511);
        store_le32(start.data() + 512 + 80, 0xffffffff);
    }
    CHECK(find_partitions(start, kDisk).empty());
}

namespace {

// A disk of an MBR and what is put on it, sectors of 512 bytes.
struct Sectors {
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kDisk);

    // `record` 0: the partition, as seen from this sector; 1: the next sector, from the first.
    void put(std::uint64_t sector, unsigned record, std::uint8_t type, std::uint32_t first,
             std::uint32_t count) {
        std::uint8_t* const at = bytes.data() + sector * 512;
        at[446 + record * 16 + 4] = type;
        store_le32(at + 446 + record * 16 + 8, first);
        store_le32(at + 446 + record * 16 + 12, count);
        at[510] = 0x55;
        at[511] = 0xaa;
    }
    std::vector<Partition> read() const {
        const auto found = read_partitions(
            [this](std::uint64_t offset, std::uint8_t* data, std::uint64_t length) -> Result<> {
                if (offset > kDisk || length > kDisk - offset)
                    return failure(ErrorKind::invalid, "past the end");
                std::memcpy(data, bytes.data() + offset, length);
                return {};
            },
            kDisk);
        REQUIRE(found);
        return *found;
    }
};

Sectors extended_disk() {
    Sectors disk;
    disk.put(0, 0, 0x07, 2048, 2048);
    disk.put(0, 1, 0x0f, 4096, 65536);
    disk.put(4096, 0, 0x83, 2048, 8192);
    disk.put(4096, 1, 0x05, 16384, 18432);
    disk.put(4096 + 16384, 0, 0x82, 2048, 16384);
    return disk;
}

}  // namespace

TEST_CASE("logical partitions stand in place of their extended one") {
    using All = std::vector<Partition>;
    Sectors disk = extended_disk();
    CHECK(disk.read() == All{{1, 2048 * 512, 2048 * 512},
                             {5, 6144 * 512, 8192 * 512},
                             {6, (4096 + 16384 + 2048) * 512, 16384 * 512}});
    CHECK(find_partitions(std::span(disk.bytes).first(65536), kDisk) ==
          All{{1, 2048 * 512, 2048 * 512}, {2, 4096 * 512, 65536 * 512}});
}

TEST_CASE("a chain of logical partitions that contradicts itself ends there") {
    using All = std::vector<Partition>;
    Sectors disk = extended_disk();
    All expected{{1, 2048 * 512, 2048 * 512}, {5, 6144 * 512, 8192 * 512}};
    const All whole{{1, 2048 * 512, 2048 * 512}, {2, 4096 * 512, 65536 * 512}};
    SECTION("it goes back") { disk.put(4096, 1, 0x05, 0, 100); }
    SECTION("it leaves the extended partition") { disk.put(4096, 1, 0x05, 65536, 100); }
    SECTION("a partition past the end") { disk.put(4096 + 16384, 0, 0x83, 2048, 65536); }
    SECTION("no signature") { disk.bytes[(4096 + 16384) * 512 + 510] = 0; }
    SECTION("none at all") {
        disk.bytes[4096 * 512 + 510] = 0;
        expected = whole;
    }
    SECTION("over each other") {
        disk.put(4096, 0, 0x83, 2048, 30000);
        expected = whole;
    }
    CHECK(disk.read() == expected);
}
