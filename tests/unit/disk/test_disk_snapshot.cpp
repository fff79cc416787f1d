// Snapshots of a link's disk: what they hold while the client goes on, what they cost, and that
// nothing of them is left. The simulation (tests/sim) does the same at random.
#include <algorithm>

#include "disk_fixture.hpp"
#include "target/disk/disk_snapshot.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlock = kBlockBytes;
using Snapshot = std::unique_ptr<const DiskSnapshot>;

// 3 MiB and a bit, the second of them zero.
struct Room {
    TemporaryFolder folder;
    TemporaryFolder ram{"/dev/shm"};
    const DiskBytes image = [] {
        DiskBytes disk = random_bytes(3 * kMiB + 512 * 3, 77);
        std::fill(disk.begin() + kMiB, disk.begin() + 2 * kMiB, std::uint8_t{0});
        return disk;
    }();
    Loop loop;
    LinkDiskOptions options;

    explicit Room(Policy policy, bool with_ram = false) {
        options.version = std::make_shared<FileVersion>(folder / "pack", image);
        options.policy = policy;
        options.folder = folder / "overlay";
        options.reserve_bytes = 0;
        if (with_ram) {
            options.ram_folder = ram / "overlay";
            options.ram_budget_bytes = 64 * kBlock;
        }
    }
    std::unique_ptr<LinkDisk> open() { return open_ok(loop, options); }
    DiskBytes whole(Disk& disk) { return read_range(loop, disk, 0, image.size()); }

    Result<> read_image(std::uint64_t chunk, std::uint8_t* data) {
        const std::uint64_t from = chunk * store::kChunkBytes;
        const auto length = std::min<std::uint64_t>(store::kChunkBytes, image.size() - from);
        std::fill_n(data, store::kChunkBytes, std::uint8_t{0});
        std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(from), length, data);
        return {};
    }
    DiskBytes whole(const DiskSnapshot& snapshot) {
        DiskBytes disk = image;
        disk.resize((image.size() + store::kChunkBytes - 1) / store::kChunkBytes *
                    store::kChunkBytes);
        for (const ChunkBlocks& each : snapshot.changed())
            REQUIRE(snapshot.read_chunk(
                each.chunk, disk.data() + each.chunk * store::kChunkBytes,
                [this](std::uint64_t chunk, std::uint8_t* at) { return read_image(chunk, at); }));
        CHECK(std::all_of(disk.begin() + static_cast<std::ptrdiff_t>(image.size()), disk.end(),
                          [](auto byte) { return byte == 0; }));
        disk.resize(image.size());
        return disk;
    }
};

Snapshot snapshot_of(LinkDisk& disk) {
    Snapshot taken;
    disk.take_snapshot([&](Result<Snapshot> snapshot) {
        REQUIRE(snapshot);
        taken = std::move(*snapshot);
    });
    REQUIRE(taken);
    return taken;
}

const std::pair<Policy, bool> kOverlays[] = {{Policy::discard, false},
                                             {Policy::discard, true},
                                             {Policy::keep, false},
                                             {Policy::super, false}};

}  // namespace

TEST_CASE("a snapshot holds what was written before it, and nothing after") {
    for (const auto& [policy, with_ram] : kOverlays) {
        CAPTURE(static_cast<int>(policy), with_ram);
        Room room(policy, with_ram);
        auto disk = room.open();
        write_range(room.loop, *disk, 100 * kBlock, random_bytes(200 * kBlock, 1));
        write_range(room.loop, *disk, 7 * kBlock + 512, random_bytes(1024, 2));
        REQUIRE(perform(room.loop, *disk, Operation::unmap, 600 * kBlock, 50 * kBlock) ==
                Outcome::ok);
        write_range(room.loop, *disk, room.image.size() - 512, random_bytes(512, 3), true);
        const DiskBytes then = room.whole(*disk);

        Snapshot snapshot = snapshot_of(*disk);
        CHECK(room.whole(*snapshot) == then);
        // Overwritten whole and in part, given up, written atomically, flushed, first written.
        write_range(room.loop, *disk, 120 * kBlock, random_bytes(20 * kBlock, 4));
        write_range(room.loop, *disk, 7 * kBlock + 1024, random_bytes(512, 5));
        write_range(room.loop, *disk, 150 * kBlock + 512, random_bytes(5 * kBlock, 6), true);
        REQUIRE(perform(room.loop, *disk, Operation::unmap, 200 * kBlock, 60 * kBlock) ==
                Outcome::ok);
        REQUIRE(write_atomic(room.loop, *disk, 130 * kBlock, random_bytes(8 * kBlock, 7)) ==
                Outcome::ok);
        write_range(room.loop, *disk, 600 * kBlock, random_bytes(50 * kBlock, 8));
        write_range(room.loop, *disk, 0, random_bytes(40 * kBlock, 9), true);
        const DiskBytes now = room.whole(*disk);
        CHECK(room.whole(*snapshot) == then);
        CHECK(now != then);
        snapshot.reset();
        CHECK(room.whole(*disk) == now);

        // Another one, and the disk opened again: nothing was left of the first.
        snapshot = snapshot_of(*disk);
        CHECK(room.whole(*snapshot) == now);
        snapshot.reset();
        disk->close();
        disk.reset();
        disk = room.open();
        CHECK(room.whole(*disk) == now);
    }
}

TEST_CASE("a snapshot names the blocks that are not the version's") {
    Room room(Policy::super);
    auto disk = room.open();
    CHECK(snapshot_of(*disk)->changed().empty());
    write_range(room.loop, *disk, 3 * store::kChunkBytes + 512, random_bytes(512, 1));
    write_range(room.loop, *disk, 4 * store::kChunkBytes - 512, random_bytes(512, 1));
    write_range(room.loop, *disk, room.image.size() - 512, random_bytes(512, 2));
    REQUIRE(perform(room.loop, *disk, Operation::unmap, 5 * store::kChunkBytes, 2 * kBlock) ==
            Outcome::ok);
    REQUIRE(perform(room.loop, *disk, Operation::unmap, kMiB, kMiB) ==
            Outcome::ok);  // zero already
    std::vector<std::pair<std::uint64_t, unsigned>> found;
    for (const ChunkBlocks& each : snapshot_of(*disk)->changed())
        found.emplace_back(each.chunk, each.blocks);
    CHECK(found ==
          std::vector<std::pair<std::uint64_t, unsigned>>{{3, 0x8001}, {5, 0x0003}, {48, 1}});
    // Of these, what takes space: zeros do not.
    found.clear();
    for (const ChunkBlocks& each : snapshot_of(*disk)->stored())
        found.emplace_back(each.chunk, each.blocks);
    CHECK(found == std::vector<std::pair<std::uint64_t, unsigned>>{{3, 0x8001}, {48, 1}});
    CHECK(disk->usage().used_bytes == 3 * kBlock);
}

TEST_CASE("what a snapshot holds back counts as used, and is free after it") {
    for (const auto& [policy, with_ram] : kOverlays) {
        CAPTURE(static_cast<int>(policy), with_ram);
        Room room(policy, with_ram);
        room.options.quota_bytes = 30 * kBlock;
        auto disk = room.open();
        const auto used = [&] { return disk->usage().used_bytes / kBlock; };
        const auto write = [&](std::uint64_t block, std::uint64_t count, unsigned seed) {
            DiskBytes data = random_bytes(count * kBlock, seed);
            return perform(room.loop, *disk, Operation::write, block * kBlock, count * kBlock,
                           data.data());
        };
        REQUIRE(write(0, 20, 1) == Outcome::ok);
        CHECK(used() == 20);
        const DiskBytes then = room.whole(*disk);
        Snapshot snapshot = snapshot_of(*disk);
        REQUIRE(write(0, 8, 2) == Outcome::ok);
        CHECK(used() == 28);
        REQUIRE(write(0, 8, 3) == Outcome::ok);  // those are not the snapshot's
        CHECK(write(8, 8, 4) == Outcome::out_of_space);
        CHECK(used() <= 30);
        CHECK(write(40, 8, 5) == Outcome::out_of_space);
        CHECK(room.whole(*snapshot) == then);
        snapshot.reset();
        REQUIRE(perform(room.loop, *disk, Operation::flush, 0, 0) == Outcome::ok);
        CHECK(write(8, 10, 6) == Outcome::ok);
        CHECK(used() <= 30);
        REQUIRE(perform(room.loop, *disk, Operation::unmap, 0, 30 * kBlock) == Outcome::ok);
        REQUIRE(perform(room.loop, *disk, Operation::flush, 0, 0) == Outcome::ok);
        CHECK(write(0, 30, 7) == Outcome::ok);
    }
}

TEST_CASE("a disk has one snapshot at a time") {
    Room room(Policy::keep);
    auto disk = room.open();
    Snapshot snapshot = snapshot_of(*disk);
    disk->take_snapshot([](Result<Snapshot> second) {
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == ErrorKind::conflict);
    });
    snapshot.reset();
    snapshot_of(*disk);
}

TEST_CASE("a disc has no snapshot: it is its version") {
    Room room(Policy::discard);
    const auto disc = LinkDisk::open_read_only(room.options.version, 2048, *room.loop.ring);
    disc->take_snapshot([](Result<Snapshot> taken) {
        REQUIRE_FALSE(taken);
        CHECK(taken.error().kind == ErrorKind::invalid);
    });
    disc->close();
}
