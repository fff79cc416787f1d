// What a salvage says of a damaged overlay: the good blocks, those that are lost, and those that a
// lost record may have changed.
#include <fstream>

#include "common/log.hpp"
#include "link_disk_room.hpp"
#include "target/disk/overlay_salvage.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

namespace {

void rot(const std::filesystem::path& path, std::uint64_t offset) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 0x41));
    REQUIRE(file.flush());
}

struct Salvaged {
    DiskBytes disk;
    OverlaySalvage::Report report;
};

struct RescueRoom : Room {
    RescueRoom() : Room(Policy::keep) { log::set_level(log::level::off); }

    void write_flushed(LinkDisk& disk, std::uint64_t block, unsigned seed) {
        write(disk, block * kBlock, random_bytes(kBlock, seed));
        REQUIRE(perform(loop, disk, Operation::flush, 0, 0) == Outcome::ok);
    }
    Salvaged salvage() {
        auto opened =
            OverlaySalvage::open(store::posix_storage(), options.folder, *options.version);
        if (!opened) FAIL(opened.error().message);
        Salvaged found;
        found.disk = untouched;
        found.disk.resize((base.size() + store::kChunkBytes - 1) / store::kChunkBytes *
                          store::kChunkBytes);
        for (const std::uint64_t chunk : (*opened)->changed_chunks())
            REQUIRE((*opened)->read_chunk(
                chunk, found.disk.data() + chunk * store::kChunkBytes,
                [&](std::uint64_t its, std::uint8_t* at) -> Result<> {
                    const std::size_t from = its * store::kChunkBytes;
                    std::copy_n(untouched.begin() + static_cast<std::ptrdiff_t>(from),
                                std::min<std::size_t>(store::kChunkBytes, untouched.size() - from),
                                at);
                    return {};
                }));
        found.disk.resize(base.size());
        found.report = (*opened)->report();
        return found;
    }
    DiskBytes untouched = base;
};

// Where a record is that says `block` is somewhere, of those that are flushed one by one: the first
// record is a mark, and each block's write is followed by its mark and that mark's witness.
std::uint64_t record_at(std::uint64_t write) { return 4096 + (1 + write * 3) * 16; }

}  // namespace

TEST_CASE("a salvage of what is whole is the disk") {
    RescueRoom room;
    {
        auto disk = room.open();
        room.fill(*disk, 3, 30);
        room.write_flushed(*disk, 5, 100);
        REQUIRE(perform(room.loop, *disk, Operation::unmap, 7 * kBlock, 2 * kBlock) == Outcome::ok);
        std::fill_n(room.base.begin() + 7 * kBlock, 2 * kBlock, std::uint8_t{0});
        disk->close();
    }
    const Salvaged found = room.salvage();
    CHECK(found.disk == room.base);
    CHECK(found.report.bad_records == 0);
    CHECK(found.report.lost.empty());
    CHECK(found.report.doubtful.empty());
}

TEST_CASE("a salvage names what is lost, and what may be older") {
    RescueRoom room;
    {
        auto disk = room.open();
        for (std::uint64_t block = 0; block < 6; ++block)
            room.write_flushed(*disk, block, static_cast<unsigned>(block + 1));
        disk->close();
    }
    rot(room.options.folder / "slots", 1 * kBlock + 77);  // block 1
    rot(room.options.folder / "journal", record_at(3));   // block 3
    const Salvaged found = room.salvage();
    CHECK(found.report.bad_records == 1);
    REQUIRE(found.report.lost.size() == 1);
    CHECK(found.report.lost[0].offset_bytes == kBlock);
    CHECK(found.report.lost[0].length_bytes == kBlock);
    // 0 and 2 were written before the record that is lost; nobody knows that 3 was written at all.
    CHECK(found.report.doubtful_bytes == 2 * kBlock);
    DiskBytes wanted = room.base;
    std::fill_n(wanted.begin() + kBlock, kBlock, std::uint8_t{0});
    std::copy_n(room.untouched.begin() + 3 * kBlock, kBlock, wanted.begin() + 3 * kBlock);
    CHECK(found.disk == wanted);
}

TEST_CASE("a block whose slot another block has by now is lost, not the other's data") {
    RescueRoom room;
    {
        auto disk = room.open();
        room.write_flushed(*disk, 0, 1);  // in slot 0
        room.write_flushed(*disk, 0, 2);  // moved to slot 1: this record will be lost
        room.write_flushed(*disk, 9, 3);  // in slot 0
        disk->close();
    }
    rot(room.options.folder / "journal", record_at(1));
    const Salvaged found = room.salvage();
    REQUIRE(found.report.lost.size() == 1);
    CHECK(found.report.lost[0].offset_bytes == 0);
    DiskBytes wanted = room.base;
    std::fill_n(wanted.begin(), kBlock, std::uint8_t{0});
    CHECK(found.disk == wanted);
}

TEST_CASE("without its slots file a salvage has zeros and says that all is lost") {
    RescueRoom room;
    {
        auto disk = room.open();
        for (std::uint64_t block = 0; block < 4; ++block) room.write_flushed(*disk, block, 9);
        disk->close();
    }
    std::filesystem::remove(room.options.folder / "slots");
    CHECK(room.salvage().report.lost_bytes == 4 * kBlock);
    std::filesystem::remove(room.options.folder / "journal");
    CHECK(
        !OverlaySalvage::open(store::posix_storage(), room.options.folder, *room.options.version));
}
