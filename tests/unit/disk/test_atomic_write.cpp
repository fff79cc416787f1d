// Atomic writes of an overlay: all of one is there or nothing, when it fails, when the journal was
// cut short, and when a slot did not reach the disk before a power loss.
#include <algorithm>
#include <fstream>

#include "disk_fixture.hpp"
#include "target/disk/journal_record.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

namespace {

constexpr std::uint64_t kBlock = 4096;

struct Room {
    TemporaryFolder folder;
    TemporaryFolder ram{"/dev/shm"};
    DiskBytes content;  // what the disk must read as
    Loop loop;
    LinkDiskOptions options;

    explicit Room(Policy policy, bool with_ram = false)
        : content(random_bytes((1 << 20) + 512 * 3, 5)) {
        std::fill(content.begin() + (1 << 18), content.begin() + (1 << 19), std::uint8_t{0});
        options.version = std::make_shared<FileVersion>(folder / "pack", content);
        options.policy = policy;
        options.folder = folder / "overlay";
        options.reserve_bytes = 0;
        if (with_ram) {
            options.ram_folder = ram / "overlay";
            options.ram_budget_bytes = 20 * kBlock;
        }
    }
    std::unique_ptr<LinkDisk> open() { return open_ok(loop, options); }
    DiskBytes whole(Disk& disk) { return read_range(loop, disk, 0, content.size()); }
    void expect(std::uint64_t offset, const DiskBytes& data) {
        std::copy(data.begin(), data.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void write(Disk& disk, std::uint64_t offset, const DiskBytes& data) {
        write_range(loop, disk, offset, data);
        expect(offset, data);
    }
    // The overlay as it is on the disk now, as if the process had been killed; with another boot's
    // id, as if the power had gone.
    LinkDiskOptions copy_of_files(const char* name, bool other_boot) const {
        LinkDiskOptions copied = options;
        copied.folder = folder / name;
        std::filesystem::copy(options.folder, copied.folder);
        if (other_boot)
            edit_header(copied.folder, [](JournalHeader& header) { header.boot_id = "another"; });
        return copied;
    }
    template <typename Edit>
    static void edit_header(const std::filesystem::path& folder, Edit edit) {
        JournalHeader header = header_of(folder);
        edit(header);
        const auto bytes = header.encode();
        overwrite(folder / "journal", 0, bytes.data(), bytes.size());
    }
    static JournalHeader header_of(const std::filesystem::path& folder) {
        const DiskBytes journal = contents(folder / "journal");
        const auto header = JournalHeader::decode(journal.data(), "journal");
        REQUIRE(header);
        return *header;
    }
    static std::vector<Record> records_of(const std::filesystem::path& folder) {
        const DiskBytes journal = contents(folder / "journal");
        const std::uint32_t seed = header_of(folder).seed;
        std::vector<Record> records;
        for (std::size_t at = kJournalHeaderBytes; at + kRecordBytes <= journal.size();
             at += kRecordBytes) {
            const auto record = Record::decode(&journal[at], records.size(), seed);
            if (!record) break;
            records.push_back(*record);
        }
        return records;
    }
    static DiskBytes contents(const std::filesystem::path& path) {
        std::ifstream file(path, std::ios::binary);
        REQUIRE(file);
        return DiskBytes(std::istreambuf_iterator<char>(file), {});
    }
    static void overwrite(const std::filesystem::path& path, std::uint64_t offset,
                          const std::uint8_t* data, std::size_t length) {
        std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(static_cast<std::streamoff>(offset));
        file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(length));
        REQUIRE(file.flush());
    }
};

}  // namespace

TEST_CASE("an atomic write is read back, of whole blocks and parts, over anything") {
    for (const Policy policy : {Policy::discard, Policy::keep, Policy::super}) {
        const bool with_ram = policy == Policy::discard;
        Room room(policy, with_ram);
        {
            auto disk = room.open();
            CHECK(disk->geometry().max_atomic_bytes == 128 * 1024);
            room.write(*disk, 0, random_bytes(10 * kBlock, 1));
            std::uint64_t seed = 10;
            for (const auto& [offset, length] :
                 std::vector<std::pair<std::uint64_t, std::uint64_t>>{
                     {0, 512},
                     {3 * 512, 512 * 30},
                     {2 * kBlock, 3 * kBlock},
                     {2 * kBlock, 3 * kBlock},  // over what is fresh
                     {7 * kBlock + 512, 128 * 1024},
                     {(1 << 18) - 512, 1024},
                     {room.content.size() - 512 * 5, 512 * 5}}) {
                const DiskBytes data = random_bytes(length, ++seed);
                REQUIRE(write_atomic(room.loop, *disk, offset, data, seed % 2 == 0) == Outcome::ok);
                room.expect(offset, data);
                CHECK(room.whole(*disk) == room.content);
            }
            const DiskBytes zeroes(3 * kBlock);
            REQUIRE(write_atomic(room.loop, *disk, kBlock, zeroes) == Outcome::ok);
            room.expect(kBlock, zeroes);
            CHECK(room.whole(*disk) == room.content);
            disk->close();
        }
        auto disk = room.open();
        CHECK(room.whole(*disk) == room.content);
    }
}

TEST_CASE("an atomic write that finds no space for all changes nothing and takes nothing") {
    for (const Policy policy : {Policy::discard, Policy::keep}) {
        Room room(policy);
        room.options.quota_bytes = 4 * kBlock;
        auto disk = room.open();
        room.write(*disk, 0, random_bytes(3 * kBlock, 1));
        CHECK(write_atomic(room.loop, *disk, 2 * kBlock, random_bytes(4 * kBlock, 2)) ==
              Outcome::out_of_space);
        CHECK(room.whole(*disk) == room.content);
        CHECK(disk->usage().used_bytes == 3 * kBlock);
        const DiskBytes fits = random_bytes(2 * kBlock, 3);
        REQUIRE(write_atomic(room.loop, *disk, 2 * kBlock, fits) == Outcome::ok);
        room.expect(2 * kBlock, fits);
        CHECK(room.whole(*disk) == room.content);
        CHECK(disk->usage().used_bytes == 4 * kBlock);
    }
}

TEST_CASE("blocks of an atomic write count only when the journal has all of them") {
    Room room(Policy::keep);
    auto disk = room.open();
    room.write(*disk, 0, random_bytes(6 * kBlock, 1));
    const std::size_t before = Room::records_of(room.options.folder).size();
    REQUIRE(write_atomic(room.loop, *disk, kBlock, random_bytes(4 * kBlock, 2)) == Outcome::ok);
    const std::vector<Record> records = Room::records_of(room.options.folder);
    REQUIRE(records.size() == before + 5);
    CHECK(records.back().type == Record::Type::group);
    CHECK(records.back().block == 4);
    const DiskBytes nothing(6 * kRecordBytes);
    for (std::size_t kept = before; kept < records.size(); ++kept) {
        CAPTURE(kept);
        const std::string name = "cut at " + std::to_string(kept);
        LinkDiskOptions options = room.copy_of_files(name.c_str(), false);
        Room::overwrite(options.folder / "journal", kJournalHeaderBytes + kept * kRecordBytes,
                        nothing.data(), nothing.size());
        DiskBytes content = room.content;
        for (std::uint64_t seed = 20; seed < 22; ++seed) {
            auto cut = open_ok(room.loop, options);
            CHECK(read_range(room.loop, *cut, 0, content.size()) == content);
            // What follows the left over records counts by itself.
            const DiskBytes more = random_bytes(2 * kBlock, seed);
            REQUIRE(write_atomic(room.loop, *cut, 4 * kBlock, more) == Outcome::ok);
            std::copy(more.begin(), more.end(), content.begin() + 4 * kBlock);
        }
        auto again = open_ok(room.loop, options);
        CHECK(read_range(room.loop, *again, 0, content.size()) == content);
    }
}

TEST_CASE("a block of an atomic write that a power loss took takes the others with it") {
    Room room(Policy::keep);
    auto disk = room.open();
    room.write(*disk, 0, random_bytes(6 * kBlock, 1));
    REQUIRE(perform(room.loop, *disk, Operation::flush, 0, 0) == Outcome::ok);
    const DiskBytes data = random_bytes(4 * kBlock, 2);
    REQUIRE(write_atomic(room.loop, *disk, kBlock, data) == Outcome::ok);
    const std::vector<Record> records = Room::records_of(room.options.folder);
    {
        auto kept = open_ok(room.loop, room.copy_of_files("all", true));
        DiskBytes content = room.content;
        std::copy(data.begin(), data.end(), content.begin() + kBlock);
        CHECK(read_range(room.loop, *kept, 0, content.size()) == content);
    }
    unsigned members = 0;
    for (const Record& record : records) {
        if (record.type != Record::Type::member) continue;
        const std::string name = "lost " + std::to_string(++members);
        const LinkDiskOptions options = room.copy_of_files(name.c_str(), true);
        const std::vector<std::uint8_t> sector(512, 0xEE);
        Room::overwrite(options.folder / "slots", record.slot * kBlock + 1024, sector.data(), 512);
        auto lost = open_ok(room.loop, options);
        CHECK(read_range(room.loop, *lost, 0, room.content.size()) == room.content);
        CHECK(lost->usage().used_bytes == 6 * kBlock);
        // The slots of what does not count are free.
        REQUIRE(write_atomic(room.loop, *lost, 0, data) == Outcome::ok);
        CHECK(read_range(room.loop, *lost, 0, data.size()) == data);
    }
    CHECK(members == 4);
}

TEST_CASE("a write over a block of an atomic write leaves its slot to it until a flush") {
    Room room(Policy::keep);
    auto disk = room.open();
    // Slots that were of other blocks since the last flush, which could be overwritten in place.
    room.write(*disk, 0, random_bytes(4 * kBlock, 1));
    REQUIRE(perform(room.loop, *disk, Operation::unmap, 0, 4 * kBlock) == Outcome::ok);
    room.expect(0, DiskBytes(4 * kBlock));
    const DiskBytes data = random_bytes(4 * kBlock, 2);
    REQUIRE(write_atomic(room.loop, *disk, 8 * kBlock, data) == Outcome::ok);
    room.expect(8 * kBlock, data);
    room.write(*disk, 10 * kBlock, random_bytes(kBlock, 3));
    for (const bool other_boot : {false, true}) {
        auto after =
            open_ok(room.loop, room.copy_of_files(other_boot ? "power" : "kill", other_boot));
        CHECK(room.whole(*after) == room.content);
    }
    REQUIRE(perform(room.loop, *disk, Operation::flush, 0, 0) == Outcome::ok);
    room.write(*disk, 11 * kBlock, random_bytes(kBlock, 4));
    auto after = open_ok(room.loop, room.copy_of_files("flushed", true));
    CHECK(room.whole(*after) == room.content);
}

TEST_CASE("a journal of format 1 is read and written anew as one of format 2") {
    for (const Policy policy : {Policy::discard, Policy::keep}) {
        Room room(policy);
        {
            auto disk = room.open();
            room.write(*disk, kBlock, random_bytes(5 * kBlock, 1));
            disk->close();
        }
        Room::edit_header(room.options.folder, [](JournalHeader& header) { header.format = 1; });
        for (int i = 0; i < 2; ++i) {
            auto disk = room.open();
            CHECK(Room::header_of(room.options.folder).format == 2);
            CHECK(room.whole(*disk) == room.content);
            const DiskBytes data = random_bytes(3 * kBlock, 2);
            REQUIRE(write_atomic(room.loop, *disk, 4 * kBlock, data) == Outcome::ok);
            room.expect(4 * kBlock, data);
            CHECK(room.whole(*disk) == room.content);
        }
    }
}
