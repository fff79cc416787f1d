// Files that are stored while they come.
#include <fcntl.h>
#include <unistd.h>

#include "common/file.hpp"
#include "store_fixture.hpp"
#include "target/store/arriving_disk.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

struct Arriving {
    TemporaryFolder folder;
    std::unique_ptr<ImageStore> store = open_store(folder / "store");
    std::unique_ptr<ArrivingDisk> disk;
    const std::filesystem::path file = folder / "disk.raw";

    void begin(std::uint64_t file_bytes) {
        write_file(file, {});
        auto begun = store->begin_arrival(
            FileDescriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC)), file_bytes);
        REQUIRE(begun);
        disk = std::move(*begun);
    }
    // As the spool does: blocks of zeros become holes.
    void send(const DiskBytes& bytes, std::size_t from, std::size_t to) const {
        const FileDescriptor fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
        for (std::size_t at = from; at < to;) {
            const std::size_t end = std::min(to, (at / 4096 + 1) * 4096);
            if (std::any_of(&bytes[at], &bytes[at] + (end - at), [](auto b) { return b != 0; }))
                REQUIRE(::pwrite(fd.get(), &bytes[at], end - at, static_cast<off_t>(at)) ==
                        static_cast<ssize_t>(end - at));
            at = end;
        }
        REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(to)) == 0);
        disk->arrived(to);
    }
    Result<VersionInfo> import(const std::filesystem::path& path) const {
        Progress progress;
        ImportRequest request{path, "raw"};
        request.arriving = disk.get();
        auto made = store->import(request, progress);
        if (made) CHECK(progress.done_bytes == progress.total_bytes);
        return made;
    }
};

}  // namespace

TEST_CASE("a disk that is stored while it comes is the same version, and not read again") {
    // Odd lengths, zeros at the end, and one that ends within a stride of the import.
    const auto length = GENERATE(std::size_t{512}, (std::size_t{9} << 20) + 700,
                                 std::size_t{8} << 20, (std::size_t{4} << 20) + 65'536);
    DiskBytes bytes = sample_disk(length, length);
    if (length > 200'000) std::fill(bytes.end() - 150'000, bytes.end(), std::uint8_t{0});
    Arriving arriving;
    arriving.begin(length);
    for (std::size_t at = 0; at < length; at += 300'001)
        arriving.send(bytes, at, std::min(length, at + 300'001));
    Progress progress;
    CHECK(*arriving.disk->sha256(progress) == Hasher().hash(bytes));
    REQUIRE(arriving.disk->manifest(progress));
    // What stands in the file from now on would be another version.
    write_file(arriving.file, DiskBytes(length, 7));
    const auto made = arriving.import(arriving.file);
    if (!made) FAIL(made.error().message);
    arriving.disk.reset();
    DiskBytes wanted = bytes;
    wanted.resize((length + 511) / 512 * 512);
    CHECK((read_version(**arriving.store->open_version(made->digest)) == wanted));

    write_file(arriving.folder / "plain.raw", bytes);
    const auto plain = open_store(arriving.folder / "other");
    CHECK(import_ok(*plain, arriving.folder / "plain.raw", "raw").digest == made->digest);
}

TEST_CASE("of a disk that never came whole nothing is left") {
    const DiskBytes bytes = sample_disk(12 << 20, 3);
    Arriving arriving;
    arriving.begin(bytes.size());
    arriving.send(bytes, 0, 9 << 20);
    Progress progress;
    CHECK(arriving.disk->sha256(progress).error().kind == ErrorKind::conflict);
    CHECK(arriving.disk->manifest(progress).error().kind == ErrorKind::conflict);
    arriving.disk.reset();
    CHECK(arriving.store->list()->empty());
    CHECK(allocated_bytes(arriving.folder / "store/packs") == 0);
}

TEST_CASE("another file is imported by its own bytes") {
    const DiskBytes bytes = sample_disk(5 << 20, 4), other = sample_disk(5 << 20, 5);
    Arriving arriving;
    arriving.begin(bytes.size());
    arriving.send(bytes, 0, bytes.size());
    write_file(arriving.folder / "other.raw", other);
    const auto made = arriving.import(arriving.folder / "other.raw");
    REQUIRE(made);
    CHECK((read_version(**arriving.store->open_version(made->digest)) == other));
}
