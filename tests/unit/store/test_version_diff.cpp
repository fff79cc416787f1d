// What two versions differ in, and what that has in common with a disk's own changes.
#include "store_fixture.hpp"
#include "target/store/version_diff.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

constexpr std::size_t kBlock = kDiffBlockBytes;

struct Two {
    TemporaryFolder folder;
    std::unique_ptr<ImageStore> store = open_store(folder / "store");
    DiskBytes disk = sample_disk(40 * kChunkBytes, 5);

    std::unique_ptr<const VersionReader> version_of(const DiskBytes& bytes) {
        write_file(folder / "disk.raw", bytes);
        auto reader = store->read_version(import_ok(*store, folder / "disk.raw", "raw").digest);
        REQUIRE(reader);
        return std::move(*reader);
    }
};

}  // namespace

TEST_CASE("versions are compared by chunk and by block, also of different sizes") {
    Two two;
    DiskBytes other = two.disk;
    other[2 * kChunkBytes + 5 * kBlock + 7] ^= 1;
    other[2 * kChunkBytes + 15 * kBlock] ^= 1;
    std::fill_n(other.begin() + 7 * kChunkBytes, kChunkBytes, std::uint8_t{0x31});
    other.resize(other.size() + 3 * kChunkBytes);
    other[41 * kChunkBytes + kBlock] = 1;
    const auto a = two.version_of(two.disk), b = two.version_of(other);
    CHECK(differing_chunks(a->manifest(), b->manifest()) == std::vector<std::uint64_t>{2, 7, 41});
    CHECK(differing_chunks(b->manifest(), a->manifest()) == std::vector<std::uint64_t>{2, 7, 41});
    CHECK(differing_chunks(a->manifest(), a->manifest()).empty());
    CHECK(differing_blocks(*a, *b, 2) == std::uint16_t{1u << 5 | 1u << 15});
    CHECK(differing_blocks(*a, *b, 41) == std::uint16_t{1u << 1});
    CHECK(differing_blocks(*a, *b, 3) == std::uint16_t{0});
}

TEST_CASE("an overlap is what both changed, its ranges joined and bounded") {
    Two two;
    DiskBytes other = two.disk;
    for (std::size_t block = 0; block < 40 * 16; block += 3) other[block * kBlock + 9] ^= 0x55;
    const auto base = two.version_of(two.disk), theirs = two.version_of(other);
    Progress progress;
    // Blocks 0 and 15 of chunk 1 are 16 and 31 of the disk, of which theirs has neither... but 33.
    const auto few = overlap_of({{0, 0x000b}, {1, 0x8001}, {2, 0x0003}}, *base, *theirs, progress);
    REQUIRE(few);
    CHECK(few->mine_bytes == 7 * kBlock);
    CHECK(few->theirs_bytes == 40 * kChunkBytes);
    CHECK(few->both_bytes == 3 * kBlock);  // blocks 0, 3, 33
    CHECK(few->range_count == 3);
    REQUIRE(few->ranges.size() == 3);
    CHECK(few->ranges[2].offset_bytes == 33 * kBlock);
    CHECK(few->ranges[2].length_bytes == kBlock);
    CHECK(few->exact);
    REQUIRE(few->shared.size() == 1);  // no partition table: the disk is one whole
    CHECK(few->shared.front().partition.number == 0);
    CHECK(few->shared.front().mine_bytes == 7 * kBlock);
    CHECK(few->shared.front().theirs_bytes == 40 * kChunkBytes);

    std::vector<ChunkBlocks> all;
    for (std::uint64_t chunk = 0; chunk < 40; ++chunk) all.push_back({chunk, 0xffff});
    const auto many = overlap_of(all, *base, *theirs, progress);
    REQUIRE(many);
    CHECK(many->range_count == 214);
    CHECK(many->both_bytes == 214 * kBlock);
    CHECK(many->ranges.size() == Overlap::kMaxRanges);
    for (const auto& range : many->ranges) CHECK(range.length_bytes == kBlock);

    other = two.disk;
    for (std::size_t at = 3 * kChunkBytes; at < 5 * kChunkBytes; ++at) other[at] ^= 1;
    const auto joined = overlap_of(all, *base, *two.version_of(other), progress);
    REQUIRE(joined);
    CHECK(joined->range_count == 1);
    CHECK(joined->ranges.front().offset_bytes == 3 * kChunkBytes);
    CHECK(joined->ranges.front().length_bytes == 2 * kChunkBytes);
}

TEST_CASE("a corrupt chunk is told of, and does not pass as a change") {
    Two two;
    const auto base = two.version_of(two.disk);
    std::vector<std::uint8_t> chunk(kChunkBytes);
    std::uint64_t first = 0;
    while (is_zero(base->manifest().chunks[first])) ++first;
    REQUIRE(base->read(first, chunk.data()));
    CHECK(std::equal(chunk.begin(), chunk.end(),
                     two.disk.begin() + static_cast<std::ptrdiff_t>(first * kChunkBytes)));
    const auto version = two.store->open_version(base->digest());
    REQUIRE(version);
    // Damaged behind the store's back, as a failing disk does.
    const auto pack = two.folder / "store" / "packs" / "00000000.pack";
    DiskBytes bytes = read_whole(pack);
    bytes[Version::slot_offset_bytes((*version)->location(first)) + 100] ^= 1;
    write_file(pack, bytes);
    const auto reader = two.store->read_version(base->digest());
    REQUIRE(reader);
    const auto read = (*reader)->read(first, chunk.data());
    REQUIRE_FALSE(read);
    CHECK(read.error().kind == ErrorKind::corrupt);
}
