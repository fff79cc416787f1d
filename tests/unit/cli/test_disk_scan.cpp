// A disk that is read once, in windows of hashed chunks.
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "common/file.hpp"
#include "manager/cli/disk_scan.hpp"
#include "tests/unit/random_bytes.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::cli::DiskScan;
using goldlink::test::DiskBytes;
using goldlink::test::random_bytes;

namespace {

constexpr std::uint64_t kWindowBytes = DiskScan::kWindowChunks * kChunkBytes;

struct Disk {
    goldlink::test::TemporaryFolder folder;
    std::string path = (folder / "disk").string();
    FileDescriptor fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};

    void size(std::uint64_t bytes) {
        REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0);
    }
    void put(std::uint64_t offset, const DiskBytes& bytes) {
        REQUIRE(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                static_cast<ssize_t>(bytes.size()));
    }
    // All digests; each chunk's bytes are checked against its own on the way.
    std::vector<Digest> scan(std::uint64_t file_bytes, std::uint64_t disk_bytes) {
        DiskScan scan(fd.get(), path, file_bytes, disk_bytes);
        std::vector<Digest> digests;
        Hasher hasher;
        for (;;) {
            const auto window = scan.next();
            if (!window) FAIL(window.error().message);
            if (*window == nullptr) break;
            CHECK((*window)->first_chunk == digests.size());
            for (std::size_t i = 0; i < (*window)->digests.size(); ++i)
                if (const Digest& digest = (*window)->digests[i]; !is_zero(digest))
                    CHECK(hasher.hash((*window)->chunk(i)) == digest);
            digests.insert(digests.end(), (*window)->digests.begin(), (*window)->digests.end());
        }
        return digests;
    }
};

Digest digest_of(DiskBytes chunk) {
    chunk.resize(kChunkBytes);
    return Hasher().hash(chunk);
}

}  // namespace

TEST_CASE("data between holes is found in its place, over more windows than there are buffers") {
    Disk disk;
    disk.size(5 * kWindowBytes + 1000);
    const auto a = random_bytes(kChunkBytes, 1), b = random_bytes(kChunkBytes, 2),
               end = random_bytes(1000, 3);
    disk.put(0, a);
    disk.put(2 * kWindowBytes + 7 * kChunkBytes, b);
    disk.put(2 * kWindowBytes + 9 * kChunkBytes, DiskBytes(kChunkBytes));  // zeros, but no hole
    disk.put(5 * kWindowBytes - kChunkBytes, a);
    disk.put(5 * kWindowBytes, end);
    const auto digests = disk.scan(5 * kWindowBytes + 1000, 5 * kWindowBytes + 1024);
    REQUIRE(digests.size() == 5 * DiskScan::kWindowChunks + 1);
    std::vector<Digest> expected(digests.size());
    expected[0] = expected[5 * DiskScan::kWindowChunks - 1] = digest_of(a);
    expected[2 * DiskScan::kWindowChunks + 7] = digest_of(b);
    expected.back() = digest_of(end);
    CHECK(digests == expected);
}

TEST_CASE("a chunk that lies across the end of the file is padded, and what is past it is zeros") {
    Disk disk;
    const auto bytes = random_bytes(kChunkBytes + 100, 4);
    disk.put(0, bytes);
    // A smaller disk of a larger file ends where the disk does.
    CHECK(disk.scan(bytes.size(), 512) ==
          std::vector{digest_of({bytes.begin(), bytes.begin() + 512})});
    const auto digests = disk.scan(bytes.size(), 4 * kChunkBytes);
    REQUIRE(digests.size() == 4);
    CHECK(digests[1] == digest_of({bytes.begin() + kChunkBytes, bytes.end()}));
    CHECK((is_zero(digests[2]) && is_zero(digests[3])));
    CHECK(disk.scan(0, 2 * kChunkBytes) == std::vector<Digest>(2));
}

TEST_CASE("a file that became shorter is an error, not zeros") {
    Disk disk;
    disk.put(0, random_bytes(3 * kChunkBytes, 5));
    DiskScan scan(disk.fd.get(), "disk.raw", 4 * kChunkBytes, 4 * kChunkBytes);
    const auto window = scan.next();
    REQUIRE_FALSE(window);
    CHECK(window.error().kind == ErrorKind::conflict);
    CHECK_THAT(window.error().message, Catch::Contains("disk.raw became shorter"));
    CHECK_FALSE(scan.next());
}

TEST_CASE("a scan that is given up ends at once") {
    Disk disk;
    disk.put(0, random_bytes(1000, 6));
    disk.size(std::uint64_t{1} << 40);
    for (const int windows : {0, 1, 3}) {
        DiskScan scan(disk.fd.get(), disk.path, std::uint64_t{1} << 40, std::uint64_t{1} << 40);
        for (int i = 0; i < windows; ++i) REQUIRE(*scan.next() != nullptr);
    }
}
