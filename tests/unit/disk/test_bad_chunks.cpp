// Bad chunks of a version under a link's disk: their reads are medium errors, everything else is
// served, and they are read again once they are mended.
#include "disk_fixture.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;
using store::kChunkBytes;

namespace {

constexpr std::uint64_t kBlock = 4096;

struct Room {
    TemporaryFolder folder;
    DiskBytes bytes = random_bytes(6 * kChunkBytes, 5);
    std::shared_ptr<FileVersion> version;
    Loop loop;

    Room() {
        std::fill_n(bytes.begin() + 4 * kChunkBytes, kChunkBytes, std::uint8_t{0});
        version = std::make_shared<FileVersion>(folder / "pack", bytes);
    }
    std::unique_ptr<LinkDisk> overlay(Policy policy = Policy::keep) {
        LinkDiskOptions options;
        options.version = version;
        options.policy = policy;
        options.folder = folder / "overlay";
        options.reserve_bytes = 0;
        return open_ok(loop, options);
    }
    DiskBytes part(std::uint64_t offset, std::uint64_t length) const {
        return {bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                bytes.begin() + static_cast<std::ptrdiff_t>(offset + length)};
    }
    Outcome read(Disk& disk, std::uint64_t offset, std::uint64_t length) {
        DiskBytes into(length);
        return perform(loop, disk, Operation::read, offset, length, into.data());
    }
};

}  // namespace

TEST_CASE("a read that touches a bad chunk is a medium error, its neighbours are served") {
    Room room;
    auto disk = room.overlay();
    CHECK(read_range(room.loop, *disk, 0, 6 * kChunkBytes) == room.bytes);
    room.version->set_bad(2, true);
    CHECK(room.read(*disk, 2 * kChunkBytes, kBlock) == Outcome::medium_error);
    CHECK(room.read(*disk, kChunkBytes, 4 * kChunkBytes) == Outcome::medium_error);
    CHECK(room.read(*disk, 3 * kChunkBytes - 512, 1024) == Outcome::medium_error);
    CHECK(read_range(room.loop, *disk, 0, 2 * kChunkBytes) == room.part(0, 2 * kChunkBytes));
    CHECK(read_range(room.loop, *disk, 3 * kChunkBytes, 3 * kChunkBytes) ==
          room.part(3 * kChunkBytes, 3 * kChunkBytes));
    CHECK(disk->extent_at(2 * kChunkBytes, kChunkBytes).mapped);
    room.version->set_bad(2, false);
    CHECK(read_range(room.loop, *disk, 0, 6 * kChunkBytes) == room.bytes);
}

TEST_CASE("what the overlay holds above a bad chunk is read and written") {
    Room room;
    auto disk = room.overlay();
    room.version->set_bad(2, true);
    const auto written = random_bytes(2 * kBlock, 8);
    write_range(room.loop, *disk, 2 * kChunkBytes + kBlock, written);
    CHECK(read_range(room.loop, *disk, 2 * kChunkBytes + kBlock, 2 * kBlock) == written);
    CHECK(room.read(*disk, 2 * kChunkBytes, 2 * kBlock) == Outcome::medium_error);
    // Part of a block: the rest of it would have to come from the bad chunk.
    auto half = random_bytes(512, 9);
    CHECK(perform(room.loop, *disk, Operation::write, 2 * kChunkBytes + 8 * kBlock + 512, 512,
                  half.data()) == Outcome::medium_error);
    CHECK(perform(room.loop, *disk, Operation::unmap, 2 * kChunkBytes + 4 * kBlock, kBlock) ==
          Outcome::ok);
    CHECK(read_range(room.loop, *disk, 2 * kChunkBytes + 4 * kBlock, kBlock) == DiskBytes(kBlock));
}

TEST_CASE("a bad chunk is not lent, although memory has it") {
    Room room;
    auto disk = room.overlay(Policy::discard);
    for (std::uint64_t slot = 0; slot < 5; ++slot) room.version->resident_slots.insert(slot);
    DiskBytes into(2 * kChunkBytes);
    const auto lent = [&] {
        Request request;
        request.may_lend = true;
        request.offset_bytes = 2 * kChunkBytes;
        request.length_bytes = into.size();
        request.data = into.data();
        REQUIRE(disk->submit(request) == Submit::done);
        return std::pair(request.outcome, int{request.lent_count});
    };
    CHECK(lent().second > 0);
    room.version->set_bad(3, true);
    CHECK(lent() == std::pair(Outcome::medium_error, 0));
    room.version->set_bad(3, false);
    CHECK(lent().second > 0);
}

TEST_CASE("a disc's bad chunk is a medium error") {
    Room room;
    const auto disk = LinkDisk::open_read_only(room.version, 2048, *room.loop.ring);
    room.version->set_bad(1, true);
    CHECK(room.read(*disk, kChunkBytes, 2048) == Outcome::medium_error);
    CHECK(room.read(*disk, 0, 3 * kChunkBytes) == Outcome::medium_error);
    CHECK(read_range(room.loop, *disk, 0, kChunkBytes) == room.part(0, kChunkBytes));
    CHECK(read_range(room.loop, *disk, 4 * kChunkBytes, kChunkBytes) == DiskBytes(kChunkBytes));
    disk->close();
}
