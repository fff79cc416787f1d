// A reader that is not what it should be: what the target says then is what it counted itself, in
// time. The readers here are functions that run in the sandboxed process in place of the program.
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <thread>

#include "target/usage/reader_child.hpp"

using namespace goldlink;
using namespace goldlink::usage;
using std::chrono::milliseconds;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// An MBR disk of two partitions; written to: one block of the first, two of the second, one before.
struct Looked {
    Result<DiskUse> use = failure(ErrorKind::invalid, "not looked");
    milliseconds took{};
};

void put_partition(std::uint8_t* sector, unsigned index, std::uint32_t first, std::uint32_t count) {
    std::uint8_t* const entry = sector + 446 + index * 16;
    entry[4] = 0x83;
    store_le32(entry + 8, first);
    store_le32(entry + 12, count);
}

Looked look(std::function<int()> work, milliseconds deadline = milliseconds(10'000),
            const std::atomic<bool>* cancel = nullptr, bool readable = true) {
    DiskToLook disk;
    disk.disk_bytes = 64 * kMiB;
    disk.written.add(0, 1);
    disk.written.add(256, 1);
    disk.written.add(8192, 2);
    disk.read_chunk = [readable](std::uint64_t chunk, std::uint8_t* data) -> Result<> {
        if (!readable && chunk > 0) return failure(ErrorKind::corrupt, "chunk 5 is bad");
        std::memset(data, 0, kChunkBytes);
        if (chunk > 0) return {};
        put_partition(data, 0, 2048, 2048);
        put_partition(data, 1, 32768, 65536);
        data[510] = 0x55;
        data[511] = 0xaa;
        return {};
    };
    LookOptions options;
    options.work = std::move(work);
    options.deadline = deadline;
    options.cancel = cancel;
    const auto begun = std::chrono::steady_clock::now();
    Looked looked;
    looked.use = look_into(disk, 5, options);
    looked.took =
        std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begun);
    if (looked.use) {
        // Whatever the reader said.
        CHECK(looked.use->used_bytes == 4 * kBlockBytes);
        CHECK(looked.use->outside_bytes == kBlockBytes);
        REQUIRE(looked.use->partitions.size() == 2);
        CHECK(looked.use->partitions[0].written_bytes == kBlockBytes);
        CHECK(looked.use->partitions[1].written_bytes == 2 * kBlockBytes);
        for (const PartitionUse& each : looked.use->partitions)
            CHECK(each.other_bytes() <= each.written_bytes);
    }
    return looked;
}

// Only system calls and memory made before: what is said is made here.
int say(const std::string& bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t n = ::write(0, bytes.data() + done, bytes.size() - done);
        if (n <= 0) return 1;
        done += static_cast<std::size_t>(n);
    }
    return 0;
}

void swallow_order() {
    static std::uint8_t order[kOrderHeadBytes + 2 * 16 + 3 * 8];
    for (std::size_t done = 0; done < sizeof order;) {
        const ssize_t n = ::read(0, order + done, sizeof order - done);
        if (n <= 0) ::_exit(3);
        done += static_cast<std::size_t>(n);
    }
}

std::function<int()> saying(std::string bytes) {
    return [bytes = std::move(bytes)] {
        swallow_order();
        return say(bytes);
    };
}

Contents contents_of(std::uint64_t bytes, std::string path) {
    Contents contents;
    contents.file_system = FileSystem::ext4;
    contents.gap = Gap::none;
    contents.file_bytes = bytes;
    contents.file_count = 1;
    contents.files = {{std::move(path), bytes, bytes}};
    return contents;
}

}  // namespace

TEST_CASE("a reader that says what can be is believed") {
    const auto looked = look(saying(encode_contents(1, contents_of(8192, "/a")) +
                                    encode_contents(0, {}) + encode_end()));
    REQUIRE(looked.use);
    CHECK(looked.use->incomplete.empty());
    CHECK(looked.use->partitions[1].contents.files[0].path == "/a");
    CHECK(looked.use->partitions[1].gap_text.empty());
    CHECK_THAT(looked.use->partitions[0].gap_text, Catch::Contains("NTFS"));
}

TEST_CASE("names that are no text are made text") {
    const auto looked = look(saying(encode_contents(1, contents_of(8192, "/\xff\x1b[2J")) +
                                    encode_contents(0, {}) + encode_end()));
    REQUIRE(looked.use);
    CHECK(looked.use->partitions[1].contents.files[0].path == "/\xef\xbf\xbd\xef\xbf\xbd[2J");
}

TEST_CASE("a reader that lies is stopped, and what it said before it lied stays") {
    const std::string good = encode_contents(0, contents_of(4096, "/good"));
    std::string lie;
    SECTION("more bytes than there are") { lie = encode_contents(1, contents_of(8193, "/a")); }
    SECTION("a partition that there is not") { lie = encode_contents(2, contents_of(1, "/a")); }
    SECTION("a partition twice") { lie = good; }
    SECTION("a chunk past the end") { lie = encode_chunk_request(1024); }
    SECTION("a frame without end") {
        lie = encode_contents(1, contents_of(8192, "/a"));
        store_be32(reinterpret_cast<std::uint8_t*>(lie.data()) + 4, 0xffffffff);
    }
    SECTION("noise") { lie = std::string(100'000, '\xa5'); }
    const auto looked = look(saying(good + lie + encode_end()));
    REQUIRE(looked.use);
    CHECK_THAT(looked.use->incomplete, Catch::Contains("cannot be"));
    CHECK(looked.use->partitions[0].contents.files[0].path == "/good");
    CHECK(looked.use->partitions[1].contents.files.empty());
    CHECK(looked.use->partitions[1].gap_text == "it was not looked at");
    CHECK(looked.took < milliseconds(5000));
}

TEST_CASE("a reader that dies leaves what it had said") {
    const auto looked = look([bytes = encode_contents(1, contents_of(4096, "/a"))] {
        swallow_order();
        say(bytes);
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    REQUIRE(looked.use);
    CHECK_THAT(looked.use->incomplete, Catch::Contains("was killed by signal 9"));
    CHECK(looked.use->partitions[1].contents.files[0].path == "/a");
    const auto silent = look([] { return 7; });
    REQUIRE(silent.use);
    CHECK_THAT(silent.use->incomplete, Catch::Contains("exited with code 7"));
}

TEST_CASE("a reader that hangs, or never stops, ends with its time") {
    std::function<int()> work;
    SECTION("it says nothing") {
        work = [] {
            for (;;) ::pause();
            return 0;
        };
    }
    SECTION("it asks for ever") {
        work = [request = encode_chunk_request(0)] {
            swallow_order();
            static std::uint8_t answer[kAnswerBytes];
            for (;;) {
                if (say(request) != 0) return 1;
                for (std::size_t done = 0; done < sizeof answer;) {
                    const ssize_t n = ::read(0, answer + done, sizeof answer - done);
                    if (n <= 0) return 1;
                    done += static_cast<std::size_t>(n);
                }
            }
        };
    }
    SECTION("it asks and does not listen") {
        work = [request = encode_chunk_request(0)] {
            while (say(request) == 0) {
            }
            for (;;) ::pause();
            return 0;
        };
    }
    SECTION("it writes to its standard output for ever") {
        work = [] {
            while (::write(1, "no\n", 3) == 3) {
            }
            return 0;
        };
    }
    const auto looked = look(work, milliseconds(700));
    REQUIRE(looked.use);
    CHECK_THAT(looked.use->incomplete, Catch::Contains("longer than 0 s"));
    CHECK(looked.took >= milliseconds(700));
    CHECK(looked.took < milliseconds(6000));
}

TEST_CASE("a reader that does not go after its last word is ended") {
    const auto looked =
        look([bytes = encode_contents(0, {}) + encode_contents(1, {}) + encode_end()] {
            swallow_order();
            say(bytes);
            for (;;) ::pause();
            return 0;
        });
    REQUIRE(looked.use);
    CHECK(looked.use->incomplete.empty());
    CHECK(looked.took < milliseconds(6000));
}

TEST_CASE("a look that is cancelled ends soon") {
    std::atomic<bool> cancel{false};
    std::thread canceller([&] {
        std::this_thread::sleep_for(milliseconds(200));
        cancel = true;
    });
    const auto looked = look(
        [] {
            for (;;) ::pause();
            return 0;
        },
        milliseconds(30'000), &cancel);
    canceller.join();
    REQUIRE_FALSE(looked.use);
    CHECK(looked.use.error().kind == ErrorKind::cancelled);
    CHECK(looked.took < milliseconds(5000));
}

TEST_CASE("a part of the disk that cannot be read is said") {
    const auto looked = look(
        [request = encode_chunk_request(5),
         bytes = encode_contents(0, {}) + encode_contents(1, {}) + encode_end()] {
            swallow_order();
            if (say(request) != 0) return 1;
            static std::uint8_t answer[kAnswerBytes];
            for (std::size_t done = 0; done < sizeof answer;) {
                const ssize_t n = ::read(0, answer + done, sizeof answer - done);
                if (n <= 0) return 1;
                done += static_cast<std::size_t>(n);
            }
            if (answer[0] != kChunkUnreadable) return 2;
            return say(bytes);
        },
        milliseconds(10'000), nullptr, false);
    REQUIRE(looked.use);
    CHECK_THAT(looked.use->incomplete, Catch::Contains("chunk 5 is bad"));
}

TEST_CASE("a reader that is not there is said") {
    DiskToLook disk;
    disk.disk_bytes = kMiB;
    disk.written.add(1, 1);
    disk.read_chunk = [](std::uint64_t, std::uint8_t* data) -> Result<> {
        std::memset(data, 0, kChunkBytes);
        return {};
    };
    LookOptions options;
    options.program = {"/nonexistent/reader"};
    const auto use = look_into(disk, 5, options);
    REQUIRE(use);
    CHECK_THAT(use->incomplete, Catch::Contains("/nonexistent/reader"));
    REQUIRE(use->partitions.size() == 1);
    CHECK(use->partitions[0].partition.number == 0);
    CHECK(use->partitions[0].written_bytes == kBlockBytes);
}
