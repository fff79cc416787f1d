// Disks that grow: the partition table follows, everything else stays; sfdisk is the judge.
#include <sys/wait.h>

#include <cstdio>
#include <cstring>

#include "store_fixture.hpp"
#include "target/store/gpt.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::string output_of(const std::string& line) {
    std::string text;
    FILE* const pipe = ::popen(line.c_str(), "r");
    REQUIRE(pipe != nullptr);
    char buffer[4096];
    for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        text.append(buffer, n);
    ::pclose(pipe);
    return text;
}

std::uint64_t number_at(const DiskBytes& disk, std::size_t at, unsigned length) {
    std::uint64_t number = 0;
    for (unsigned i = length; i-- > 0;) number = number << 8 | disk[at + i];
    return number;
}

Result<std::vector<DiskPatch>> patches_of(const DiskBytes& disk, std::uint64_t new_bytes) {
    return grow_gpt(
        [&](std::uint64_t offset, std::uint8_t* data, std::uint64_t length) -> Result<> {
            REQUIRE(offset + length <= disk.size());
            std::memcpy(data, disk.data() + offset, length);
            return {};
        },
        disk.size(), new_bytes);
}

DiskBytes grown(const DiskBytes& disk, std::uint64_t new_bytes) {
    const auto patches = patches_of(disk, new_bytes);
    REQUIRE(patches);
    DiskBytes larger = disk;
    larger.resize(new_bytes);
    for (const DiskPatch& patch : *patches)
        std::copy(patch.bytes.begin(), patch.bytes.end(),
                  larger.begin() + static_cast<std::ptrdiff_t>(patch.offset_bytes));
    return larger;
}

// Two partitions of random bytes, made by sfdisk. Blocks of 512 bytes.
DiskBytes partitioned(const TemporaryFolder& folder, std::uint64_t size) {
    const auto file = folder / "disk.raw";
    DiskBytes disk(size);
    const DiskBytes data = random_bytes(4 * kMiB, 3);
    std::copy(data.begin(), data.end(), disk.begin() + kMiB);
    write_file(file, disk);
    output_of("printf 'label: gpt\\nsize=2MiB,name=one\\nname=two\\n' | sfdisk -q " +
              file.string() + " 2>&1");
    return read_whole(file);
}

// The same table for blocks of 4096 bytes, by hand: a header, 4 blocks of entries, at both ends.
// Its checksums are made by growing from a table whose checksums are right, so they are computed
// here a second way.
std::uint32_t crc(const DiskBytes& bytes, std::size_t at, std::size_t length) {
    std::uint32_t value = 0xffffffffu;
    for (std::size_t i = at; i < at + length; ++i)
        for (unsigned bit = 0; bit < 8; ++bit) {
            const bool one = ((value ^ (std::uint32_t{bytes[i]} >> bit)) & 1) != 0;
            value = value >> 1 ^ (one ? 0xedb88320u : 0);
        }
    return ~value;
}

void set(DiskBytes& disk, std::size_t at, std::uint64_t number, unsigned length) {
    for (unsigned i = 0; i < length; ++i) disk[at + i] = static_cast<std::uint8_t>(number >> 8 * i);
}

DiskBytes native_4k(std::uint64_t size) {
    constexpr std::size_t kBlock = 4096;
    DiskBytes disk(size);
    const std::uint64_t last = size / kBlock - 1;
    set(disk, 446 + 4, 0xee, 1);
    set(disk, 446 + 8, 1, 4);
    set(disk, 446 + 12, last, 4);
    set(disk, 510, 0xaa55, 2);
    for (const std::uint64_t lba : {std::uint64_t{1}, last}) {
        const std::size_t at = lba * kBlock;
        const std::uint64_t entries = lba == 1 ? 2 : last - 4;
        set(disk, entries * kBlock, 0x1234, 2);  // an entry's type
        set(disk, entries * kBlock + 32, 100, 8);
        set(disk, entries * kBlock + 40, 200, 8);
        std::memcpy(disk.data() + at, "EFI PART", 8);
        set(disk, at + 8, 0x10000, 4);
        set(disk, at + 12, 92, 4);
        set(disk, at + 24, lba, 8);
        set(disk, at + 32, lba == 1 ? last : 1, 8);
        set(disk, at + 40, 6, 8);
        set(disk, at + 48, last - 5, 8);
        set(disk, at + 72, entries, 8);
        set(disk, at + 80, 128, 4);
        set(disk, at + 84, 128, 4);
        set(disk, at + 88, crc(disk, entries * kBlock, 128 * 128), 4);
        set(disk, at + 16, crc(disk, at, 92), 4);
    }
    return disk;
}

}  // namespace

TEST_CASE("a grown disk has a table that sfdisk finds sound, and the same partitions") {
    TemporaryFolder folder;
    const DiskBytes disk = partitioned(folder, 16 * kMiB);
    const auto file = (folder / "disk.raw").string();
    const std::string before = output_of("sfdisk -d " + file + " 2>&1 | grep start=");
    REQUIRE(before.find("name=\"two\"") != std::string::npos);
    for (const std::uint64_t size : {16 * kMiB + 4096, 16 * kMiB + 20480, 40 * kMiB}) {
        CAPTURE(size);
        const DiskBytes larger = grown(disk, size);
        write_file(folder / "disk.raw", larger);
        CHECK(output_of("sfdisk -V " + file + " 2>&1").find("No errors detected") !=
              std::string::npos);
        CHECK(output_of("sfdisk -d " + file + " 2>&1 | grep start=") == before);
        CHECK(output_of("sfdisk -d " + file + " 2>&1 | grep last-lba") ==
              "last-lba: " + std::to_string(size / 512 - 34) + "\n");
        CHECK(number_at(larger, 446 + 12, 4) == size / 512 - 1);
        // Nothing of the old backup is left where a partition may grow.
        CHECK(number_at(larger, disk.size() - 512, 8) != number_at(larger, 512, 8));
        CHECK(std::equal(disk.begin() + kMiB, disk.end() - 33 * 512, larger.begin() + kMiB));
        // Again from there.
        write_file(folder / "disk.raw", grown(larger, size + 8 * kMiB));
        CHECK(output_of("sfdisk -V " + file + " 2>&1").find("No errors detected") !=
              std::string::npos);
    }
}

TEST_CASE("a table for blocks of 4096 bytes follows too") {
    const DiskBytes disk = native_4k(8 * kMiB);
    const DiskBytes larger = grown(disk, 12 * kMiB);
    CHECK(larger == native_4k(12 * kMiB));
}

TEST_CASE("a protective record that says as much as it can stays, a hybrid one too") {
    DiskBytes disk = native_4k(8 * kMiB);
    set(disk, 446 + 12, 0xffffffff, 4);
    CHECK(number_at(grown(disk, 12 * kMiB), 446 + 12, 4) == 12 * kMiB / 4096 - 1);
    set(disk, 446 + 12, 5, 4);  // covers the header alone
    CHECK(number_at(grown(disk, 12 * kMiB), 446 + 12, 4) == 5);
}

TEST_CASE("a damaged table is refused with what is wrong, and none needs nothing") {
    const DiskBytes disk = native_4k(8 * kMiB);
    const auto refused = [&](std::size_t at, const std::string& said) {
        DiskBytes damaged = disk;
        damaged[at] ^= 1;
        const auto patches = patches_of(damaged, 12 * kMiB);
        REQUIRE_FALSE(patches);
        CHECK(patches.error().message.find(said) != std::string::npos);
    };
    refused(4096 + 40, "header's checksum");
    refused(4096 + 12, "header's checksum");
    refused(2 * 4096 + 77, "entries' checksum");
    DiskBytes absurd = disk;
    set(absurd, 4096 + 80, 0x7fffffff, 4);
    set(absurd, 4096 + 16, 0, 4);
    set(absurd, 4096 + 16, crc(absurd, 4096, 92), 4);
    CHECK_FALSE(patches_of(absurd, 12 * kMiB));
    CHECK(patches_of(DiskBytes(8 * kMiB), 12 * kMiB)->empty());
    CHECK(patches_of(random_bytes(8 * kMiB, 9), 12 * kMiB)->empty());
    CHECK(patches_of(DiskBytes(4096), 8192)->empty());
    // A backup that is gone, or elsewhere, does not keep the disk from growing.
    DiskBytes alone = disk;
    std::fill(alone.end() - 5 * 4096, alone.end(), std::uint8_t{0});
    CHECK(grown(alone, 12 * kMiB) == native_4k(12 * kMiB));
}

TEST_CASE("a version grows by what its table changes, and shares the rest") {
    TemporaryFolder folder;
    const auto store = open_store(folder / "store");
    const DiskBytes disk = partitioned(folder, 16 * kMiB);
    const VersionInfo version = import_ok(*store, folder / "disk.raw", "raw");
    const auto larger = store->grow(version.digest, 64 * kMiB);
    REQUIRE(larger);
    CHECK(larger->size_bytes == 64 * kMiB);
    CHECK(read_version(**store->open_version(larger->digest)) == grown(disk, 64 * kMiB));
    CHECK(larger->unique_bytes <= 3 * kChunkBytes);
    // One that ends within a chunk, without a table.
    DiskBytes odd = random_bytes(3 * kChunkBytes + 5 * 512, 4);
    write_file(folder / "odd.raw", odd);
    const auto grown_odd =
        store->grow(import_ok(*store, folder / "odd.raw", "raw").digest, 4 * kChunkBytes + 4096);
    REQUIRE(grown_odd);
    odd.resize(4 * kChunkBytes + 4096);
    CHECK(read_version(**store->open_version(grown_odd->digest)) == odd);

    for (const std::uint64_t size :
         {std::uint64_t{0}, 8 * kMiB, 16 * kMiB, 16 * kMiB + 512, kMaxBlankBytes + 4096}) {
        const auto refused = store->grow(version.digest, size);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::invalid);
    }
    CHECK(store->grow(std::string(64, '0'), 64 * kMiB).error().kind == ErrorKind::not_found);
}
