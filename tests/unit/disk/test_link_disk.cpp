#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "common/file.hpp"
#include "link_disk_room.hpp"
#include "target/disk/journal_record.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

TEST_CASE("an untouched overlay reads as its version, in any piece") {
    for (const bool with_ram : {false, true}) {
        Room room(Policy::discard, with_ram);
        auto disk = room.open();
        CHECK(disk->geometry().size_bytes == room.base.size());
        CHECK(room.whole(*disk) == room.base);
        for (const std::uint64_t offset :
             {std::uint64_t{512}, kMiB - 1024, 2 * kMiB - 512, 3 * kMiB + 512}) {
            const auto length =
                std::min<std::uint64_t>(200 * 1024 + 512, room.base.size() - offset);
            CHECK(read_range(room.loop, *disk, offset, length) ==
                  DiskBytes(room.base.begin() + static_cast<std::ptrdiff_t>(offset),
                            room.base.begin() + static_cast<std::ptrdiff_t>(offset + length)));
        }
        CHECK(disk->usage().used_bytes == 0);
        CHECK(disk->counters().cache_hits > 0);
    }
}

TEST_CASE("what is written is read, whole and after the disk was opened again") {
    for (const Policy policy : {Policy::discard, Policy::keep, Policy::super}) {
        for (const bool with_ram : {false, true}) {
            Room room(policy, with_ram);
            {
                auto disk = room.open();
                room.write(*disk, 0, random_bytes(kBlock, 1));
                room.write(*disk, 5 * kBlock, random_bytes(100 * kBlock, 2));
                room.write(*disk, 7 * kBlock + 512, random_bytes(512, 3));         // into a slot
                room.write(*disk, 2 * kMiB + 1536, random_bytes(512, 4));          // into the base
                room.write(*disk, kMiB + 1024, random_bytes(70 * 1024 + 512, 5));  // into zeros
                room.write(*disk, room.base.size() - 512, random_bytes(512, 6));   // the very end
                room.write(*disk, 5 * kBlock, random_bytes(3 * kBlock, 7));        // overwrite
                CHECK(room.whole(*disk) == room.base);
                disk->close();
            }
            auto disk = room.open();
            CHECK(room.whole(*disk) == room.base);
        }
    }
}

TEST_CASE("a disk of 4 KiB blocks has whole ones only") {
    Room room(Policy::keep);
    room.options.logical_block_bytes = 4096;
    const auto refused = LinkDisk::open(room.options, *room.loop.ring);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::conflict);
    room.base.resize(3 * kMiB);
    room.options.version = std::make_shared<FileVersion>(room.folder / "pack", room.base);
    auto disk = room.open();
    CHECK(disk->geometry().logical_block_bytes == 4096);
    room.write(*disk, 5 * kBlock, random_bytes(2 * kBlock, 1));
    CHECK(room.whole(*disk) == room.base);
}

TEST_CASE("the discard overlay begins in RAM and spills to its folder") {
    Room room(Policy::discard, true);
    auto disk = room.open();
    room.write(*disk, 0, random_bytes(40 * kBlock, 1));
    CHECK(disk->usage().ram_bytes == 40 * kBlock);
    room.write(*disk, 40 * kBlock, random_bytes(60 * kBlock, 2));
    CHECK(disk->usage().ram_bytes == 64 * kBlock);
    CHECK(disk->usage().used_bytes == 100 * kBlock);
    CHECK(room.whole(*disk) == room.base);
    disk.reset();
    disk = room.open();
    CHECK(disk->usage().used_bytes == 100 * kBlock);
    CHECK(room.whole(*disk) == room.base);
}

TEST_CASE("zeros and the version's own data take no space") {
    Room room(Policy::discard);
    auto disk = room.open();
    room.write(*disk, 0, DiskBytes(20 * kBlock, 0));
    CHECK(disk->usage().used_bytes == 0);
    CHECK(room.whole(*disk) == room.base);
    room.write(*disk, 30 * kBlock,
               DiskBytes(room.base.begin() + 30 * static_cast<std::ptrdiff_t>(kBlock),
                         room.base.begin() + 31 * static_cast<std::ptrdiff_t>(kBlock)));
    CHECK(disk->usage().used_bytes == 0);
    room.write(*disk, 30 * kBlock, random_bytes(kBlock, 3));
    CHECK(disk->usage().used_bytes == kBlock);
    room.write(*disk, 30 * kBlock, DiskBytes(kBlock, 0));
    CHECK(disk->usage().used_bytes == 0);
    CHECK(room.whole(*disk) == room.base);
}

TEST_CASE("unmapped ranges read as zero and free their slots") {
    for (const Policy policy : {Policy::discard, Policy::keep}) {
        Room room(policy);
        {
            auto disk = room.open();
            room.write(*disk, 0, random_bytes(200 * kBlock, 1));
            REQUIRE(perform(room.loop, *disk, Operation::unmap, 10 * kBlock + 512, 100 * kBlock) ==
                    Outcome::ok);
            std::fill_n(room.base.begin() + 10 * static_cast<std::ptrdiff_t>(kBlock) + 512,
                        100 * kBlock, std::uint8_t{0});
            CHECK(room.whole(*disk) == room.base);
            CHECK(disk->usage().used_bytes == 101 * kBlock);
            const Extent hole = disk->extent_at(11 * kBlock, 1 << 30);
            CHECK_FALSE(hole.mapped);
            CHECK(hole.length_bytes == 99 * kBlock);
            REQUIRE(perform(room.loop, *disk, Operation::unmap, 0, room.base.size()) ==
                    Outcome::ok);
            std::fill(room.base.begin(), room.base.end(), std::uint8_t{0});
            CHECK(disk->usage().used_bytes == 0);
            CHECK(room.whole(*disk) == room.base);
        }
        auto disk = room.open();
        CHECK(room.whole(*disk) == room.base);
        CHECK(disk->usage().used_bytes == 0);
    }
}

TEST_CASE("extents say what is mapped without touching storage") {
    Room room(Policy::discard);
    auto disk = room.open();
    Extent extent = disk->extent_at(0, 1 << 30);
    CHECK(extent.mapped);
    CHECK(extent.length_bytes == kMiB);
    extent = disk->extent_at(kMiB, 1 << 30);
    CHECK_FALSE(extent.mapped);
    CHECK(extent.length_bytes == kMiB);
    room.write(*disk, kMiB + 4 * kBlock, random_bytes(kBlock, 1));
    extent = disk->extent_at(kMiB, 1 << 30);
    CHECK_FALSE(extent.mapped);
    CHECK(extent.length_bytes == 4 * kBlock);
    extent = disk->extent_at(kMiB + 4 * kBlock, 2048);
    CHECK(extent.mapped);
    CHECK(extent.length_bytes == 2048);
}

TEST_CASE("the reserve of the node is left free") {
    Room room(Policy::keep);
    room.options.reserve_bytes = std::uint64_t{1} << 60;
    auto disk = room.open();
    auto data = random_bytes(kBlock, 1);
    CHECK(perform(room.loop, *disk, Operation::write, 0, kBlock, data.data()) ==
          Outcome::out_of_space);
    CHECK(room.whole(*disk) == room.base);
}

// The fuzzer's: a record behind the broken one has a check of its own, and counted again as soon as
// a new record stood where the broken one had been.
TEST_CASE("records behind a broken end of the journal never come back") {
    Room room(Policy::keep);
    {
        auto disk = room.open();
        room.write(*disk, 0, random_bytes(kBlock, 1));
        disk->close();
    }
    {
        FileDescriptor journal(::open((room.options.folder / "journal").c_str(), O_RDWR));
        std::array<std::uint8_t, kJournalHeaderBytes> head;
        REQUIRE(::pread(journal.get(), head.data(), head.size(), 0) ==
                static_cast<ssize_t>(head.size()));
        const auto header = JournalHeader::decode(head.data(), "journal");
        REQUIRE(header);
        std::uint64_t count = 0;
        std::array<std::uint8_t, kRecordBytes> record;
        for (;; ++count) {
            const auto at = static_cast<off_t>(kJournalHeaderBytes + count * kRecordBytes);
            REQUIRE(::pread(journal.get(), record.data(), record.size(), at) == kRecordBytes);
            if (!Record::decode(record.data(), count, header->seed)) break;
        }
        REQUIRE(count > 0);
        // Of another start of the machine: a killed process alone leaves no such gap.
        JournalHeader before = *header;
        before.boot_id = "another";
        head = before.encode();
        REQUIRE(::pwrite(journal.get(), head.data(), head.size(), 0) ==
                static_cast<ssize_t>(head.size()));
        // Zeros stand for the record that is lost; the one behind says that block 9 is in slot 0.
        Record{Record::Type::write, 9, 0, 0}.encode(record.data(), count + 1, header->seed);
        const auto at = static_cast<off_t>(kJournalHeaderBytes + (count + 1) * kRecordBytes);
        REQUIRE(::pwrite(journal.get(), record.data(), record.size(), at) == kRecordBytes);
    }
    {
        auto disk = room.open();
        room.write(*disk, 5 * kBlock, random_bytes(kBlock, 2));
        disk->close();
    }
    CHECK(room.whole(*room.open()) == room.base);
}

TEST_CASE("requests past the end are refused") {
    Room room(Policy::discard);
    auto disk = room.open();
    DiskBytes data(1024);
    CHECK(perform(room.loop, *disk, Operation::read, room.base.size() - 512, 1024, data.data()) ==
          Outcome::out_of_range);
    CHECK(perform(room.loop, *disk, Operation::write, ~std::uint64_t{511}, 1024, data.data()) ==
          Outcome::out_of_range);
    CHECK(perform(room.loop, *disk, Operation::unmap, room.base.size(), 512) ==
          Outcome::out_of_range);
    disk->close();
    CHECK(perform(room.loop, *disk, Operation::read, 0, 512, data.data()) == Outcome::gone);
}

TEST_CASE("an overlay over another version or of another policy is a conflict") {
    Room room(Policy::keep);
    { auto disk = room.open(); }
    auto other = room.options;
    other.policy = Policy::discard;
    auto opened = LinkDisk::open(other, *room.loop.ring);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind == ErrorKind::conflict);
    other = room.options;
    other.version = std::make_shared<FileVersion>(room.folder / "pack2", room.base, 'b');
    opened = LinkDisk::open(other, *room.loop.ring);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind == ErrorKind::conflict);
    REQUIRE(LinkDisk::destroy(room.options.folder, {}));
    CHECK_FALSE(std::filesystem::exists(room.options.folder));
    CHECK(LinkDisk::open(other, *room.loop.ring));
}

TEST_CASE("destroyed overlays leave nothing, and none is no error") {
    Room room(Policy::discard, true);
    {
        auto disk = room.open();
        room.write(*disk, 0, random_bytes(100 * kBlock, 1));
    }
    REQUIRE(LinkDisk::destroy(room.options.folder, room.options.ram_folder));
    CHECK_FALSE(std::filesystem::exists(room.options.folder));
    CHECK_FALSE(std::filesystem::exists(room.options.ram_folder));
    REQUIRE(LinkDisk::destroy(room.options.folder, room.options.ram_folder));
}

TEST_CASE("flush and FUA are free under discard and synced under keep") {
    Room room(Policy::keep);
    auto disk = room.open();
    CHECK(perform(room.loop, *disk, Operation::flush, 0, 0) == Outcome::ok);
    write_range(room.loop, *disk, 0, random_bytes(kBlock, 1), true);
    room.write(*disk, kBlock, random_bytes(kBlock, 2));
    Request flush;
    flush.operation = Operation::flush;
    bool done = false;
    flush.owner = &done;
    flush.complete = [](Request& request) noexcept { *static_cast<bool*>(request.owner) = true; };
    REQUIRE(disk->submit(flush) == Submit::pending);
    CHECK_FALSE(done);
    room.loop.run_until([&] { return done; });
    CHECK(flush.outcome == Outcome::ok);
    CHECK(disk->submit(flush) == Submit::done);  // nothing new

    Room free(Policy::discard);
    auto discard = free.open();
    free.write(*discard, 0, random_bytes(kBlock, 1));
    CHECK(discard->submit(flush) == Submit::done);
}

TEST_CASE("base data that is not cached is waited for, in order with writes to the same blocks") {
    TemporaryFolder folder;
    const auto base = random_bytes(4 * kMiB, 5);
    Loop loop;
    LinkDiskOptions options;
    options.version = std::make_shared<FileVersion>(folder / "pack", base);
    options.folder = folder / "overlay";
    options.reserve_bytes = 0;
    auto disk = open_ok(loop, options);
    const int fd = ::open((folder / "pack").c_str(), O_RDONLY);
    REQUIRE(::fsync(fd) == 0);
    // The kernel may have read it again by the time it is asked for: then, elsewhere once more.
    for (std::size_t at = 2 * kMiB; disk->counters().cache_misses == 0 && at < base.size();
         at += 16 * 1024) {
        REQUIRE(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
        // A 512-byte write into uncached data, a read across it, another write, another read: all
        // at once.
        struct Step {
            Request request;
            DiskBytes data;
            bool done = false;
        };
        std::vector<Step> steps(4);
        for (std::size_t i = 0; i < steps.size(); ++i) {
            Step& step = steps[i];
            step.request.operation = i % 2 == 0 ? Operation::write : Operation::read;
            step.request.offset_bytes = at + (i % 2 == 0 ? 1024 : 0);
            step.data = i % 2 == 0 ? random_bytes(512, i) : DiskBytes(kBlock);
            step.request.length_bytes = step.data.size();
            step.request.data = step.data.data();
            step.request.owner = &step.done;
            step.request.complete = [](Request& request) noexcept {
                *static_cast<bool*>(request.owner) = true;
            };
        }
        for (auto& step : steps) step.done = disk->submit(step.request) == Submit::done;
        loop.run_until([&] {
            return std::all_of(steps.begin(), steps.end(), [](const Step& s) { return s.done; });
        });
        DiskBytes expected(base.begin() + static_cast<std::ptrdiff_t>(at),
                           base.begin() + static_cast<std::ptrdiff_t>(at + kBlock));
        for (std::size_t i = 0; i < steps.size(); i += 2) {
            CHECK(steps[i].request.outcome == Outcome::ok);
            std::copy(steps[i].data.begin(), steps[i].data.end(), expected.begin() + 1024);
            CHECK(steps[i + 1].data == expected);
        }
    }
    ::close(fd);
    CHECK(disk->counters().cache_misses > 0);
    CHECK(read_range(loop, *disk, 0, base.size() / 2) ==
          DiskBytes(base.begin(), base.begin() + 2 * kMiB));
}

TEST_CASE("a killed process loses no acknowledged write of any policy") {
    for (const Policy policy : {Policy::discard, Policy::keep}) {
        for (const bool with_ram : {false, true}) {
            Room room(policy, with_ram);
            int pipe_fds[2];
            REQUIRE(::pipe(pipe_fds) == 0);
            const pid_t child = ::fork();
            REQUIRE(child >= 0);
            if (child == 0) {  // writes and reports each acknowledged write, until it is killed
                Loop loop;
                auto disk = LinkDisk::open(room.options, *loop.ring);
                if (!disk) ::_exit(1);
                for (std::uint64_t i = 0;; ++i) {
                    auto data = random_bytes(kBlock, i);
                    Request request;
                    request.operation = Operation::write;
                    request.offset_bytes = i % 300 * kBlock;
                    request.length_bytes = kBlock;
                    request.data = data.data();
                    bool done = false;  // storage that is slow for a moment answers later
                    request.owner = &done;
                    request.complete = [](Request& finished) noexcept {
                        *static_cast<bool*>(finished.owner) = true;
                    };
                    done = (*disk)->submit(request) == Submit::done;
                    while (!done) {
                        loop.context.restart();
                        loop.context.run_one();
                    }
                    if (request.outcome != Outcome::ok) ::_exit(2);
                    if (::write(pipe_fds[1], &i, sizeof i) != sizeof i) ::_exit(3);
                }
            }
            ::close(pipe_fds[1]);
            std::uint64_t acknowledged = 0;
            for (int i = 0; i < 1000; ++i)
                REQUIRE(::read(pipe_fds[0], &acknowledged, sizeof acknowledged) ==
                        sizeof acknowledged);
            REQUIRE(::kill(child, SIGKILL) == 0);
            REQUIRE(::waitpid(child, nullptr, 0) == child);
            std::uint64_t more = 0;
            while (::read(pipe_fds[0], &more, sizeof more) == sizeof more) acknowledged = more;
            ::close(pipe_fds[0]);
            auto disk = room.open();
            for (std::uint64_t block = 0; block < 300; ++block) {
                const std::uint64_t last = acknowledged - (acknowledged + 300 - block) % 300;
                const auto read = read_range(room.loop, *disk, block * kBlock, kBlock);
                // One more write than was reported may have happened.
                const bool as_acknowledged = read == random_bytes(kBlock, last);
                const bool as_next =
                    last + 300 == acknowledged + 1 && read == random_bytes(kBlock, last + 300);
                CHECK((as_acknowledged || as_next));
            }
        }
    }
}

namespace {

// The bytes of a read that may be lent, and how many runs they came in (0: not lent).
struct LentRead {
    DiskBytes data;
    std::size_t runs = 0;
};

LentRead read_lent(Loop& loop, Disk& disk, std::uint64_t offset, std::uint64_t length) {
    LentRead read;
    read.data.assign(length, 0xee);
    Request request;
    bool done = false;
    request.offset_bytes = offset;
    request.length_bytes = length;
    request.data = read.data.data();
    request.may_lend = true;
    request.owner = &done;
    request.complete = [](Request& finished) noexcept {
        *static_cast<bool*>(finished.owner) = true;
    };
    if (disk.submit(request) == Submit::pending) loop.run_until([&done] { return done; });
    REQUIRE(request.outcome == Outcome::ok);
    read.runs = request.lent_count;
    std::size_t at = 0;
    for (std::size_t i = 0; i < read.runs; ++i) {
        REQUIRE(at + request.lent[i].length_bytes <= length);
        std::copy_n(request.lent[i].data, request.lent[i].length_bytes, read.data.data() + at);
        at += request.lent[i].length_bytes;
    }
    if (read.runs > 0) CHECK(at == length);
    return read;
}

}  // namespace

TEST_CASE("a read of the base in memory is lent, whole or not at all") {
    constexpr std::uint64_t kChunk = store::kChunkBytes;
    Room room(Policy::discard);
    auto& version =
        const_cast<FileVersion&>(static_cast<const FileVersion&>(*room.options.version));
    auto disk = room.open();
    const auto expect = [&](std::uint64_t offset, std::uint64_t length, std::size_t runs) {
        INFO("at " << offset << ", " << length << " bytes");
        const LentRead read = read_lent(room.loop, *disk, offset, length);
        CHECK(read.runs == runs);
        CHECK(read.data ==
              DiskBytes(room.base.begin() + static_cast<std::ptrdiff_t>(offset),
                        room.base.begin() + static_cast<std::ptrdiff_t>(offset + length)));
    };
    expect(0, 4096, 0);
    version.resident_slots = {0, 2, 15};
    expect(0, kChunk, 1);
    expect(512, 1024, 1);
    expect(kChunk - 512, 1024, 0);         // slot 1 is not in memory
    expect(15 * kChunk + 512, kChunk, 2);  // the last chunk before the zero ones, and zeros
    expect(kMiB, 8 * kChunk, 8);           // zeros alone
    expect(kMiB, 9 * kChunk, 0);           // more runs than a request has
    room.write(*disk, 8192, random_bytes(4096, 3));
    expect(0, 8192, 1);
    expect(4096, 8192, 0);  // half of it is the overlay's
    expect(12288, 4096, 1);
    CHECK(room.whole(*disk) == room.base);
}
