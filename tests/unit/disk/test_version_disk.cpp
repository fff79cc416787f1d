// A version served as it is: reads from memory and from storage, and nothing else.
#include <cerrno>

#include "disk_fixture.hpp"
#include "target/disk/version_disk.hpp"

using namespace goldlink;
using namespace goldlink::disk;
using namespace goldlink::disk::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint32_t kBlockBytes = 2048;

// A page cache that has nothing, or `short_bytes` of each read; only read_cached is called.
class ColdStorage final : public store::Storage {
  public:
    std::int64_t cached_bytes = -EAGAIN;
    int calls = 0;

    std::int64_t read_cached(int fd, const iovec* vectors, unsigned, std::uint64_t offset,
                             bool) override {
        ++calls;
        if (cached_bytes <= 0) return cached_bytes;
        const auto length =
            std::min<std::size_t>(static_cast<std::size_t>(cached_bytes), vectors[0].iov_len);
        return ::pread(fd, vectors[0].iov_base, length, static_cast<off_t>(offset));
    }
    bool memory_backed(int) override { return false; }

    int open(const std::filesystem::path&, bool) override { return -ENOSYS; }
    int open_read_only(const std::filesystem::path&) override { return -ENOSYS; }
    int open_folder(const std::filesystem::path&) override { return -ENOSYS; }
    void close(int) override {}
    std::int64_t size(int) override { return -ENOSYS; }
    int truncate(int, std::uint64_t) override { return -ENOSYS; }
    std::int64_t read(int, std::uint8_t*, std::size_t, std::uint64_t) override { return -ENOSYS; }
    int sync(int) override { return -ENOSYS; }
    int sync_folder(int) override { return -ENOSYS; }
    int punch(int, std::uint64_t, std::uint64_t) override { return -ENOSYS; }
    int list(const std::filesystem::path&, std::vector<std::string>&) override { return -ENOSYS; }
    std::int64_t write(int, const iovec*, unsigned, std::uint64_t) override { return -ENOSYS; }
    int allocate(int, std::uint64_t, std::uint64_t) override { return -ENOSYS; }
    std::uint8_t* map(int, std::uint64_t) override { return nullptr; }
    int prepare_mapped(std::uint8_t*, std::uint64_t) override { return -ENOSYS; }
    void unmap(std::uint8_t*, std::uint64_t) override {}
    bool exists(const std::filesystem::path&) override { return false; }
    int make_folder(const std::filesystem::path&) override { return -ENOSYS; }
    int rename(const std::filesystem::path&, const std::filesystem::path&) override {
        return -ENOSYS;
    }
    int link(const std::filesystem::path&, const std::filesystem::path&) override {
        return -ENOSYS;
    }
    int remove(const std::filesystem::path&) override { return -ENOSYS; }
    store::Space space(const std::filesystem::path&) override { return {}; }
    std::string boot_id() override { return {}; }
    std::int64_t now_us() override { return 0; }
};

// Three mebibytes with a hole in them and half a block at their end.
struct Room {
    TemporaryFolder folder;
    DiskBytes bytes = random_bytes(3 * kMiB + kBlockBytes / 2, 5);
    std::shared_ptr<const store::Version> version;
    Loop loop;

    Room() {
        std::fill(bytes.begin() + kMiB, bytes.begin() + 2 * kMiB, std::uint8_t{0});
        version = std::make_shared<FileVersion>(folder / "pack", bytes);
        bytes.resize(bytes.size() + kBlockBytes / 2);
    }
    DiskBytes range(std::uint64_t offset, std::uint64_t length) const {
        const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
        return {from, from + static_cast<std::ptrdiff_t>(length)};
    }
};

constexpr std::uint64_t kRanges[][2] = {{0, 2048},           {2048, 300 * 1024},
                                        {kMiB - 4096, 8192}, {kMiB - 4096, kMiB + 8192},
                                        {3 * kMiB, 2048},    {0, 3 * kMiB + 2048}};

}  // namespace

TEST_CASE("a version as a disk has whole blocks and reads as it is") {
    Room room;
    const auto disk = LinkDisk::open_read_only(room.version, kBlockBytes, *room.loop.ring);
    CHECK(disk->geometry().size_bytes == 3 * kMiB + kBlockBytes);
    CHECK(disk->geometry().logical_block_bytes == kBlockBytes);
    CHECK(disk->geometry().read_only);
    for (const auto& [offset, length] : kRanges)
        CHECK(read_range(room.loop, *disk, offset, length) == room.range(offset, length));
    CHECK(disk->extent_at(0, 10 * kMiB).length_bytes == kMiB);
    CHECK_FALSE(disk->extent_at(kMiB, kMiB).mapped);
    CHECK(disk->usage().used_bytes == 0);
    disk->close();
}

TEST_CASE("what is not in memory is read from storage, whole or what is missing of it") {
    for (const std::int64_t cached : {std::int64_t{-EAGAIN}, std::int64_t{0}, std::int64_t{5000}}) {
        Room room;
        ColdStorage storage;
        storage.cached_bytes = cached;
        VersionDisk disk(room.version, kBlockBytes, *room.loop.ring, storage);
        for (const auto& [offset, length] : kRanges)
            CHECK(read_range(room.loop, disk, offset, length) == room.range(offset, length));
        CHECK(disk.counters().cache_misses > 0);
    }
}

TEST_CASE("several reads wait for storage at once") {
    Room room;
    ColdStorage storage;
    VersionDisk disk(room.version, kBlockBytes, *room.loop.ring, storage);
    struct Read {
        Request request;
        DiskBytes data = DiskBytes(64 * 1024);
        bool done = false;
    };
    for (int round = 0; round < 3; ++round) {
        std::vector<Read> reads(8);
        for (std::size_t i = 0; i < reads.size(); ++i) {
            Request& request = reads[i].request;
            request.offset_bytes = i * 32 * 1024;
            request.length_bytes = reads[i].data.size();
            request.data = reads[i].data.data();
            request.owner = &reads[i];
            request.complete = [](Request& finished) noexcept {
                static_cast<Read*>(finished.owner)->done = true;
            };
            CHECK(disk.submit(request) == Submit::pending);
        }
        room.loop.run_until([&] {
            return std::all_of(reads.begin(), reads.end(), [](const Read& r) { return r.done; });
        });
        for (std::size_t i = 0; i < reads.size(); ++i) {
            CHECK(reads[i].request.outcome == Outcome::ok);
            CHECK(reads[i].data == room.range(i * 32 * 1024, 64 * 1024));
        }
    }
}

TEST_CASE("a version cannot be written, and what cannot be read says so") {
    Room room;
    ColdStorage storage;
    VersionDisk disk(room.version, kBlockBytes, *room.loop.ring, storage);
    DiskBytes data(kBlockBytes);
    for (const Operation operation : {Operation::write, Operation::unmap, Operation::write_zeroes})
        CHECK(perform(room.loop, disk, operation, 0, kBlockBytes, data.data()) ==
              Outcome::write_failed);
    CHECK(perform(room.loop, disk, Operation::flush, 0, 0) == Outcome::ok);
    CHECK(perform(room.loop, disk, Operation::read, 3 * kMiB + kBlockBytes, 512, data.data()) ==
          Outcome::out_of_range);
    storage.cached_bytes = -EIO;
    CHECK(perform(room.loop, disk, Operation::read, 0, kBlockBytes, data.data()) ==
          Outcome::medium_error);
    storage.cached_bytes = -EAGAIN;
    std::filesystem::resize_file(room.folder / "pack", 1024);  // its data is gone
    CHECK(perform(room.loop, disk, Operation::read, 4096, kBlockBytes, data.data()) ==
          Outcome::medium_error);
    disk.close();
    CHECK(perform(room.loop, disk, Operation::read, 0, kBlockBytes, data.data()) == Outcome::gone);
}
