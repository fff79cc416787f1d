// A file that is replaced by a newer version of itself.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "manager/cli/delta_file.hpp"
#include "tests/unit/random_bytes.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::cli::DeltaFile;
using goldlink::test::DiskBytes;
using goldlink::test::random_bytes;

namespace {

struct Folder {
    goldlink::test::TemporaryFolder folder;
    std::string file = (folder / "disk.raw").string(), part = file + ".part";

    static void write(const std::string& path, const DiskBytes& bytes) {
        const FileDescriptor fd(
            ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) ==
                static_cast<ssize_t>(bytes.size()));
    }
    static DiskBytes read(const std::string& path) {
        const auto text = read_file(path, 64 << 20);
        if (!text) FAIL(text.error().message);
        return {text->begin(), text->end()};
    }
    DeltaFile open(std::uint64_t bytes, bool is_new = false) const {
        auto file_opened = DeltaFile::open(file, bytes, false, is_new);
        if (!file_opened) FAIL(file_opened.error().message);
        return std::move(*file_opened);
    }
    Error error(std::uint64_t bytes = kChunkBytes) const {
        const auto opened = DeltaFile::open(file, bytes, false, false);
        REQUIRE_FALSE(opened);
        return opened.error();
    }
};

DiskBytes chunk_of(std::uint64_t seed) { return random_bytes(kChunkBytes, seed); }

DiskBytes disk_of(std::initializer_list<DiskBytes> chunks) {
    DiskBytes disk;
    for (const DiskBytes& chunk : chunks) disk.insert(disk.end(), chunk.begin(), chunk.end());
    return disk;
}

// As an export does it: what the base has is taken over where it is another file.
void keep_base(DeltaFile& file, std::uint64_t chunk, const DiskBytes& bytes) {
    if (!file.base_is_result()) REQUIRE(file.put(chunk, bytes));
}

}  // namespace

TEST_CASE("the old file stays whole until the new one takes its name, size and mode") {
    const Folder folder;
    const DiskBytes old = disk_of({chunk_of(1), chunk_of(2), chunk_of(3), chunk_of(4)});
    Folder::write(folder.file, old);
    REQUIRE(::chmod(folder.file.c_str(), 0640) == 0);
    const std::uint64_t size = 3 * kChunkBytes - 512;
    {
        auto file = folder.open(size);
        CHECK(file.base_bytes() == size);
        keep_base(file, 0, chunk_of(1));
        REQUIRE(file.put_zeros(1));
        REQUIRE(file.put(2, chunk_of(5)));
        CHECK(Folder::read(folder.file) == old);
        REQUIRE(file.finish());
    }
    DiskBytes expected = disk_of({chunk_of(1), DiskBytes(kChunkBytes), chunk_of(5)});
    expected.resize(size);
    CHECK(Folder::read(folder.file) == expected);
    struct stat status {};
    REQUIRE(::stat(folder.file.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0640);
    CHECK(::access(folder.part.c_str(), F_OK) != 0);
}

TEST_CASE("what is given up leaves the old file and nothing beside it, unless it is kept") {
    const Folder folder;
    const DiskBytes old = disk_of({chunk_of(1), chunk_of(2)});
    Folder::write(folder.file, old);
    {
        auto file = folder.open(2 * kChunkBytes);
        REQUIRE(file.put(0, chunk_of(9)));
    }
    CHECK(Folder::read(folder.file) == old);
    CHECK(::access(folder.part.c_str(), F_OK) != 0);
    {
        auto file = folder.open(2 * kChunkBytes);
        REQUIRE(file.put(0, chunk_of(9)));
        CHECK_THAT(file.keep(), Catch::Contains(folder.part));
    }
    CHECK(Folder::read(folder.file) == old);
    auto again = folder.open(2 * kChunkBytes);
    CHECK(again.base_is_result());
    DiskBytes first(kChunkBytes);
    REQUIRE(::pread(again.base_fd(), first.data(), first.size(), 0) ==
            static_cast<ssize_t>(kChunkBytes));
    CHECK(first == chunk_of(9));
    // The second chunk was not come to: it is in the old file.
    CHECK_FALSE(*again.put_from_old(0, Hasher().hash(chunk_of(9))));
    CHECK(*again.put_from_old(1, Hasher().hash(chunk_of(2))));
    CHECK_FALSE(*again.put_from_old(2, Hasher().hash(chunk_of(2))));
    REQUIRE(again.finish());
    CHECK(Folder::read(folder.file) == disk_of({chunk_of(9), chunk_of(2)}));
}

TEST_CASE("without an old file all is made") {
    const Folder folder;
    auto file = folder.open(2 * kChunkBytes);
    CHECK(file.base_bytes() == 0);
    REQUIRE(file.put_zeros(0));
    REQUIRE(file.put(1, chunk_of(1)));
    REQUIRE(file.finish());
    CHECK(Folder::read(folder.file) == disk_of({DiskBytes(kChunkBytes), chunk_of(1)}));
}

TEST_CASE("what takes the name of a new file meanwhile is not replaced") {
    Folder f;
    DeltaFile file = f.open(kChunkBytes, true);
    REQUIRE(file.put(0, chunk_of(1)));
    Folder::write(f.file, DiskBytes{1, 2, 3});
    const auto finished = file.finish();
    REQUIRE_FALSE(finished);
    CHECK(finished.error().message.find("exists") != std::string::npos);
    CHECK(Folder::read(f.file) == DiskBytes{1, 2, 3});
}

TEST_CASE("a new file has holes where chunks have zeros, and between chunks") {
    Folder f;
    const std::uint64_t count = 64;
    DiskBytes disk(count * kChunkBytes);
    {
        DeltaFile file = f.open(disk.size(), true);
        for (std::uint64_t chunk = 3; chunk < count; chunk += 30) {
            DiskBytes bytes(kChunkBytes);
            std::fill_n(bytes.begin() + 9000, 100, std::uint8_t{7});
            REQUIRE(file.put(chunk, bytes));
            std::copy(bytes.begin(), bytes.end(),
                      disk.begin() + static_cast<std::ptrdiff_t>(chunk * kChunkBytes));
        }
        REQUIRE(file.finish());
    }
    CHECK((Folder::read(f.file) == disk));
    struct stat status {};
    REQUIRE(::stat(f.file.c_str(), &status) == 0);
    CHECK(status.st_blocks * 512 <= 3 * 4096);
}

TEST_CASE("a symbolic link stays one") {
    const Folder folder;
    const std::string real = (folder.folder / "real").string();
    Folder::write(real, chunk_of(1));
    REQUIRE(::symlink("real", folder.file.c_str()) == 0);
    auto file = folder.open(kChunkBytes);
    REQUIRE(file.put(0, chunk_of(2)));
    REQUIRE(file.finish());
    CHECK(Folder::read(real) == chunk_of(2));
    struct stat status {};
    REQUIRE(::lstat(folder.file.c_str(), &status) == 0);
    CHECK(S_ISLNK(status.st_mode));
}

TEST_CASE(
    "an image of another format, a folder, and a file that another export writes are refused") {
    const Folder folder;
    DiskBytes qcow2(kChunkBytes);
    std::memcpy(qcow2.data(), "QFI\xfb", 4);
    Folder::write(folder.file, qcow2);
    CHECK_THAT(folder.error().message, Catch::Contains("is qcow2 by its magic"));
    CHECK(::access(folder.part.c_str(), F_OK) != 0);
    CHECK(DeltaFile::open(folder.file, kChunkBytes, true, false));
    CHECK(DeltaFile::open(folder.folder.path().string(), kChunkBytes, false, false).error().kind ==
          ErrorKind::invalid);
    Folder::write(folder.file, chunk_of(1));
    const auto one = folder.open(kChunkBytes);
    CHECK(folder.error().kind == ErrorKind::conflict);
    CHECK(::access(folder.part.c_str(), F_OK) == 0);
}
