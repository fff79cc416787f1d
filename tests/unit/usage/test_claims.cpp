// Written blocks and whose they are: every byte counts once, whatever is claimed.
#include <catch2/catch.hpp>
#include <random>
#include <set>

#include "target/usage/written_blocks.hpp"

using namespace goldlink::usage;

TEST_CASE("blocks that follow each other are one run") {
    WrittenBlocks written;
    written.add(3, 1);
    written.add(4, 2);
    written.add(10, 1);
    CHECK(written.runs() == std::vector<BlockRun>{{3, 3}, {10, 1}});
    CHECK(written.bytes() == 4 * kBlockBytes);
}

TEST_CASE("the written bytes of a range, which may begin and end within a block") {
    WrittenBlocks written;
    written.add(2, 2);
    written.add(8, 1);
    CHECK(written.bytes_in(0, 64 * kBlockBytes) == written.bytes());
    CHECK(written.bytes_in(0, ~std::uint64_t{0}) == written.bytes());
    CHECK(written.bytes_in(0, 2 * kBlockBytes) == 0);
    CHECK(written.bytes_in(2 * kBlockBytes + 512, 512) == 512);
    CHECK(written.bytes_in(3 * kBlockBytes + 1024, 5 * kBlockBytes) == kBlockBytes - 1024 + 1024);
    CHECK(written.bytes_in(9 * kBlockBytes, ~std::uint64_t{0}) == 0);
    CHECK(WrittenBlocks().bytes_in(0, ~std::uint64_t{0}) == 0);
}

TEST_CASE("a byte is claimed once") {
    WrittenBlocks written;
    written.add(0, 1);
    written.add(100, 20);
    Claims claims(written);
    CHECK(claims.take(0, kBlockBytes / 2) == kBlockBytes / 2);
    CHECK(claims.take(0, kBlockBytes) == kBlockBytes / 2);
    CHECK(claims.take(50 * kBlockBytes, 52 * kBlockBytes) == 2 * kBlockBytes);
    CHECK(claims.take(0, ~std::uint64_t{0}) == 18 * kBlockBytes);
    CHECK(claims.take(0, ~std::uint64_t{0}) == 0);
    CHECK(claims.is_taken(0));
    CHECK(claims.is_taken(written.bytes() - kUnitBytes));
}

TEST_CASE("claims agree with a set of sectors") {
    std::mt19937 random(7);
    WrittenBlocks written;
    std::set<std::uint64_t> left;  // sectors
    for (std::uint32_t block = 0; block < 400; ++block) {
        if (random() % 3 != 0) continue;
        written.add(block, 1);
        for (std::uint64_t i = 0; i < 8; ++i) left.insert(block * 8ull + i);
    }
    Claims claims(written);
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t first = random() % 3300, count = random() % 200;
        std::uint64_t expected = 0;
        for (std::uint64_t sector = first; sector < first + count; ++sector)
            expected += left.erase(sector) * kUnitBytes;
        REQUIRE(claims.take(first * kUnitBytes, count * kUnitBytes) == expected);
    }
}
