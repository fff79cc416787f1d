// Overlays whose files are not what was written: bits that rot, files that are missing, cut short,
// or cut short under an open disk. What was written is served or an error is, nothing is made in
// place of what is missing, and the files stay what they are.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "common/log.hpp"
#include "link_disk_room.hpp"
#include "target/disk/disk_snapshot.hpp"
#include "target/disk/journal_record.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

namespace {

using Path = std::filesystem::path;

std::string contents(const Path& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

void put(const Path& path, std::uint64_t offset, const std::string& bytes) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    REQUIRE(file.flush());
}

void rot(const Path& path, std::uint64_t offset, std::size_t length = 16) {
    std::string bytes = contents(path).substr(offset, length);
    for (char& byte : bytes) byte = static_cast<char>(byte ^ 0x5a);
    put(path, offset, bytes);
}

// As if the machine had started anew since.
void another_boot(const Path& journal) {
    const std::string head = contents(journal).substr(0, kJournalHeaderBytes);
    auto header = JournalHeader::decode(reinterpret_cast<const std::uint8_t*>(head.data()), "it");
    REQUIRE(header);
    header->boot_id = "another";
    const auto bytes = header->encode();
    put(journal, 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Outcome flush(Room& room, Disk& disk) { return perform(room.loop, disk, Operation::flush, 0, 0); }

// Blocks 0 to 7 in slots 0 to 7, flushed, each with a flush of its own.
struct WrittenRoom : Room {
    explicit WrittenRoom(Policy policy = Policy::keep, bool with_ram = false)
        : Room(policy, with_ram) {
        log::set_level(log::level::off);
        auto disk = open();
        for (std::uint64_t i = 0; i < 8; ++i) {
            fill(*disk, i, i + 1);
            REQUIRE(flush(*this, *disk) == Outcome::ok);
        }
        disk->close();
        options.must_exist = true;
    }
    Path journal() const { return options.folder / "journal"; }
    Path slots() const { return options.folder / "slots"; }
    Result<std::unique_ptr<LinkDisk>> try_open() { return LinkDisk::open(options, *loop.ring); }
    Outcome read_block(Disk& disk, std::uint64_t block) {
        DiskBytes data(kBlock);
        const Outcome outcome =
            perform(loop, disk, Operation::read, block * kBlock, kBlock, data.data());
        if (outcome == Outcome::ok)
            CHECK(std::equal(data.begin(), data.end(),
                             base.begin() + static_cast<std::ptrdiff_t>(block * kBlock)));
        return outcome;
    }
    std::size_t records() {
        auto disk = open();
        const std::size_t count =
            (disk->usage().journal_bytes - kJournalHeaderBytes) / kRecordBytes;
        disk->close();
        return count;
    }
};

}  // namespace

TEST_CASE("a record that was flushed and is damaged is no torn end, wherever it is") {
    WrittenRoom room;
    const std::size_t count = room.records();
    const std::string before = contents(room.journal());
    std::size_t refused = 0;
    for (std::size_t record = 0; record < count; ++record) {
        INFO("record " << record << " of " << count);
        const bool other_boot = record % 2 == 1;
        if (other_boot) another_boot(room.journal());
        rot(room.journal(), kJournalHeaderBytes + record * kRecordBytes);
        const std::string damaged = contents(room.journal());
        auto opened = room.try_open();
        if (opened) {
            // Only the last flush's own mark, and its witness, are no loss.
            CHECK(record + 2 >= count);
            CHECK(room.whole(**opened) == room.base);
            (*opened)->close();
        } else {
            ++refused;
            CHECK(opened.error().kind == ErrorKind::corrupt);
            CHECK_THAT(opened.error().message, Catch::Contains("link salvage"));
            CHECK(contents(room.journal()) == damaged);
        }
        std::ofstream(room.journal(), std::ios::binary) << before;
    }
    CHECK(refused + 2 >= count);
    CHECK(room.whole(*room.open()) == room.base);
}

TEST_CASE(
    "a journal that was cut short is no torn end, behind another start of the machine either") {
    WrittenRoom room;
    const std::size_t count = room.records();
    another_boot(room.journal());
    std::filesystem::resize_file(room.journal(),
                                 kJournalHeaderBytes + count / 2 * kRecordBytes + 5);
    const auto opened = room.try_open();
    REQUIRE_FALSE(opened);
    CHECK_THAT(opened.error().message, Catch::Contains("cut short"));
}

TEST_CASE("what a power loss left of the records behind the last mark is a torn end") {
    WrittenRoom room;
    const std::size_t count = room.records();
    {
        auto disk = room.open();
        room.fill(*disk, 20, 24);
        disk->close();
    }
    another_boot(room.journal());
    rot(room.journal(), kJournalHeaderBytes + (count + 1) * kRecordBytes);
    auto disk = room.open();
    CHECK(room.read_block(*disk, 7) == Outcome::ok);
    CHECK(room.read_block(*disk, 20) == Outcome::ok);
}

namespace {

// The files become copies of themselves, as a restored backup's are.
void copy_files(const Path& folder) {
    std::filesystem::copy(folder, folder.string() + ".copy",
                          std::filesystem::copy_options::recursive);
    std::filesystem::remove_all(folder);
    std::filesystem::rename(folder.string() + ".copy", folder);
}

}  // namespace

// One file of a copy may be as it was before the other was. Behind a kill the same bytes are right.
TEST_CASE("copied files are no more trusted than a power loss's, within one start of the machine") {
    const bool copied = GENERATE(false, true);
    WrittenRoom room;
    const DiskBytes before = room.base;
    {
        auto disk = room.open();
        room.fill(*disk, 20, 21);
        disk->close();
    }
    if (copied) {
        copy_files(room.options.folder);
        rot(room.slots(), 8 * kBlock + 100);  // another block's by now
    }
    auto disk = room.open();
    CHECK((room.whole(*disk) == (copied ? before : room.base)));
    disk->close();
    CHECK((room.whole(*room.open()) == (copied ? before : room.base)));
}

TEST_CASE("a discard disk of copied files is refused, one that was moved is not") {
    WrittenRoom room(Policy::discard);
    const Path folder = room.options.folder;
    std::filesystem::rename(folder, folder.string() + ".moved");
    room.options.folder = folder.string() + ".moved";
    CHECK((room.whole(*room.open()) == room.base));
    copy_files(room.options.folder);
    const auto opened = room.try_open();
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind == ErrorKind::conflict);
    CHECK_THAT(opened.error().message, Catch::Contains("copies"));
    CHECK(std::filesystem::exists(room.slots()));
}

TEST_CASE("a block that rotted is a medium error, and no other block is") {
    const bool checkpoint = GENERATE(false, true);
    WrittenRoom room;
    if (checkpoint) {  // CRCs go along into the journal that another start of the machine makes
        another_boot(room.journal());
        room.open()->close();
    }
    rot(room.slots(), 3 * kBlock + 1000);
    auto disk = room.open();
    CHECK(disk->usage().unchecked_bytes == 8 * kBlock);
    for (std::uint64_t block = 0; block < 12; ++block)
        CHECK(room.read_block(*disk, block) == (block == 3 ? Outcome::medium_error : Outcome::ok));
    CHECK(disk->usage().bad_bytes == kBlock);
    CHECK(disk->usage().unchecked_bytes == 0);
    // A part of it cannot be written, as nobody has the rest; all of it can, and unmapping helps.
    DiskBytes data = random_bytes(kBlock, 99);
    CHECK(perform(room.loop, *disk, Operation::write, 3 * kBlock, 512, data.data()) ==
          Outcome::medium_error);
    {
        std::unique_ptr<const DiskSnapshot> snapshot;
        disk->take_snapshot([&](auto taken) { snapshot = std::move(*taken); });
        DiskBytes chunk(store::kChunkBytes);
        const auto read =
            snapshot->read_chunk(0, chunk.data(), [](auto, auto*) -> Result<> { return {}; });
        REQUIRE(!read);
        CHECK(read.error().kind == ErrorKind::corrupt);
        CHECK_THAT(read.error().message, Catch::Contains("12288"));
        CHECK(!snapshot->carry_over(*room.options.version, room.folder / "carried"));
    }
    room.write(*disk, 3 * kBlock, data);
    CHECK(room.read_block(*disk, 3) == Outcome::ok);
    CHECK(disk->usage().bad_bytes == 0);
    CHECK(room.whole(*disk) == room.base);
}

TEST_CASE("a write of a part compares the rest of the block first") {
    WrittenRoom room;
    rot(room.slots(), 2 * kBlock);
    auto disk = room.open();
    DiskBytes data = random_bytes(2 * kBlock, 5);
    CHECK(perform(room.loop, *disk, Operation::write, 2 * kBlock + 512, kBlock, data.data()) ==
          Outcome::medium_error);
    CHECK(perform(room.loop, *disk, Operation::write, kBlock + 512, kBlock, data.data()) ==
          Outcome::medium_error);
    room.write(*disk, 4 * kBlock + 512, DiskBytes(data.begin(), data.begin() + 1024));
    CHECK(room.read_block(*disk, 4) == Outcome::ok);
}

TEST_CASE("a write in place that was killed before its record is what the block holds from then") {
    WrittenRoom room;
    {
        auto disk = room.open();
        room.fill(*disk, 9, 10);
        disk->close();
    }
    // Of a kill: the page cache has the new data, the journal the record of the old.
    const DiskBytes data = random_bytes(kBlock, 123);
    put(room.slots(), 8 * kBlock, {data.begin(), data.end()});
    std::copy(data.begin(), data.end(), room.base.begin() + 9 * kBlock);
    for (const bool flushed : {false, true, true}) {
        auto disk = room.open();
        CHECK(room.whole(*disk) == room.base);
        if (flushed) REQUIRE(flush(room, *disk) == Outcome::ok);
        disk->close();
    }
    another_boot(room.journal());
    CHECK(room.whole(*room.open()) == room.base);
}

TEST_CASE("an overlay that must exist is not made anew") {
    WrittenRoom room;
    const std::string lost = GENERATE("", "journal", "slots");
    std::filesystem::rename(room.options.folder / lost, room.folder / "aside");
    const auto opened = room.try_open();
    REQUIRE(!opened);
    CHECK(opened.error().kind == ErrorKind::not_found);
    CHECK_THAT(opened.error().message, Catch::Contains("mount") && Catch::Contains("reset"));
    CHECK(!std::filesystem::exists(room.options.folder / lost));
    std::filesystem::rename(room.folder / "aside", room.options.folder / lost);
    CHECK(room.whole(*room.open()) == room.base);
}

TEST_CASE("slots past the end of a file that was cut short are medium errors, the others are not") {
    WrittenRoom room;
    std::filesystem::resize_file(room.slots(), 5 * kBlock + 100);
    auto disk = room.open();
    CHECK(disk->usage().bad_bytes == 3 * kBlock);
    for (std::uint64_t block = 0; block < 8; ++block)
        CHECK(room.read_block(*disk, block) == (block >= 5 ? Outcome::medium_error : Outcome::ok));
    room.fill(*disk, 5, 12);
    CHECK(room.whole(*disk) == room.base);
    REQUIRE(flush(room, *disk) == Outcome::ok);
    disk->close();
    CHECK(room.whole(*room.open()) == room.base);
}

TEST_CASE("a slot past the end whose CRC nobody knows is no block of zeros when the file grows") {
    WrittenRoom room;
    // As checkpoints of programs before CRCs were carried over them: no CRC of block 7.
    const std::string journal = contents(room.journal());
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(journal.data());
    const auto header = JournalHeader::decode(bytes, "it");
    REQUIRE(header);
    for (std::uint64_t index = 0;; ++index) {
        const std::uint64_t at = kJournalHeaderBytes + index * kRecordBytes;
        auto record = Record::decode(bytes + at, index, header->seed);
        REQUIRE(record);
        if (record->type != Record::Type::write || record->block != 7) continue;
        record->crc = 0;
        std::uint8_t encoded[kRecordBytes];
        record->encode(encoded, index, header->seed);
        put(room.journal(), at, {reinterpret_cast<const char*>(encoded), kRecordBytes});
        break;
    }
    std::filesystem::resize_file(room.slots(), 7 * kBlock);
    for (const bool grown : {false, true}) {
        auto disk = room.open();
        CHECK(room.read_block(*disk, 7) == Outcome::medium_error);
        if (!grown) room.fill(*disk, 20, 24);
        REQUIRE(flush(room, *disk) == Outcome::ok);
        disk->close();
    }
}

TEST_CASE("a discard overlay whose files were cut short within one start is not served") {
    const bool ram = GENERATE(false, true);
    WrittenRoom room(Policy::discard, ram);
    const Path folder = ram ? room.options.ram_folder : room.options.folder;
    SECTION("journal") { std::filesystem::resize_file(folder / "journal", 4096 + 5 * 16); }
    SECTION("slots") { std::filesystem::resize_file(folder / (ram ? "slots-ram" : "slots"), 4096); }
    SECTION("record") { rot(folder / "journal", 4096 + 3 * 16); }
    SECTION("missing") { std::filesystem::remove(folder / "journal"); }
    CHECK(!room.try_open());
}

TEST_CASE("a journal that is cut short under an open disk ends its writes, not the process") {
    WrittenRoom room;
    auto disk = room.open();
    std::filesystem::resize_file(room.journal(), 0);
    DiskBytes data = random_bytes(kBlock, 1);
    CHECK(perform(room.loop, *disk, Operation::write, 0, kBlock, data.data()) ==
          Outcome::write_failed);
    CHECK(disk->usage().storage_failed);
    CHECK(room.read_block(*disk, 7) == Outcome::ok);
    CHECK(flush(room, *disk) == Outcome::write_failed);
}

TEST_CASE("RAM slots that are cut short under an open disk are medium errors") {
    WrittenRoom room(Policy::discard, true);
    auto disk = room.open();
    REQUIRE(room.read_block(*disk, 1) == Outcome::ok);
    std::filesystem::resize_file(room.options.ram_folder / "slots-ram", 0);
    CHECK(room.read_block(*disk, 1) == Outcome::medium_error);
    DiskBytes data = random_bytes(kBlock, 1);
    CHECK(perform(room.loop, *disk, Operation::write, 40 * kBlock, kBlock, data.data()) ==
          Outcome::write_failed);
    CHECK(room.read_block(*disk, 100) == Outcome::ok);  // the version's
}

TEST_CASE("a discard disk whose storage takes no write says so, once") {
    WrittenRoom room(Policy::discard);
    auto disk = room.open();
    int told = 0;
    disk->on_storage_failed = [&] { ++told; };
    CHECK_FALSE(disk->usage().storage_failed);
    const auto before = ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
    rlimit none = limit;
    none.rlim_cur = 0;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
    DiskBytes data(Room::kBlock, 9);
    std::vector<Outcome> outcomes;
    for (const std::uint64_t block : {2U, 3U})
        outcomes.push_back(
            perform(room.loop, *disk, Operation::write, block * kBlock, kBlock, data.data()));
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    ::signal(SIGXFSZ, before);
    CHECK(outcomes == std::vector{Outcome::write_failed, Outcome::write_failed});
    CHECK(told == 1);
    CHECK(disk->usage().storage_failed);
}
