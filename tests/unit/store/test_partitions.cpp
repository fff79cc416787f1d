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
