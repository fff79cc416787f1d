// One account of the disk: what does not fit is refused before it begins, with the figures.
#include "store_fixture.hpp"
#include "target/store/space_account.hpp"
#include "tests/unit/store/store_fixture.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// The kernel's storage with a disk as full as is said.
class Filling final : public Storage {
  public:
    std::uint64_t free_bytes = 0;

    Space space(const std::filesystem::path&) override { return {free_bytes, 1000 * kMiB}; }

    int open(const std::filesystem::path& path, bool create) override {
        return posix_.open(path, create);
    }
    int open_read_only(const std::filesystem::path& path) override {
        return posix_.open_read_only(path);
    }
    int open_folder(const std::filesystem::path& path) override { return posix_.open_folder(path); }
    void close(int fd) override { posix_.close(fd); }
    std::int64_t size(int fd) override { return posix_.size(fd); }
    int truncate(int fd, std::uint64_t length) override { return posix_.truncate(fd, length); }
    std::int64_t read(int fd, std::uint8_t* data, std::size_t length,
                      std::uint64_t offset) override {
        return posix_.read(fd, data, length, offset);
    }
    int sync(int fd) override { return posix_.sync(fd); }
    int sync_folder(int fd) override { return posix_.sync_folder(fd); }
    std::int64_t read_cached(int fd, const iovec* vectors, unsigned count, std::uint64_t offset,
                             bool memory) override {
        return posix_.read_cached(fd, vectors, count, offset, memory);
    }
    std::int64_t write(int fd, const iovec* vectors, unsigned count,
                       std::uint64_t offset) override {
        written_bytes += vectors[0].iov_len;
        return posix_.write(fd, vectors, count, offset);
    }
    int allocate(int fd, std::uint64_t offset, std::uint64_t length) override {
        return posix_.allocate(fd, offset, length);
    }
    int punch(int fd, std::uint64_t offset, std::uint64_t length) override {
        return posix_.punch(fd, offset, length);
    }
    bool memory_backed(int fd) override { return posix_.memory_backed(fd); }
    std::uint8_t* map(int fd, std::uint64_t length) override { return posix_.map(fd, length); }
    int prepare_mapped(std::uint8_t* address, std::uint64_t length) override {
        return posix_.prepare_mapped(address, length);
    }
    void unmap(std::uint8_t* address, std::uint64_t length) override {
        posix_.unmap(address, length);
    }
    bool exists(const std::filesystem::path& path) override { return posix_.exists(path); }
    int make_folder(const std::filesystem::path& path) override { return posix_.make_folder(path); }
    int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
        return posix_.rename(from, to);
    }
    int link(const std::filesystem::path& file, const std::filesystem::path& name) override {
        return posix_.link(file, name);
    }
    int remove(const std::filesystem::path& path) override { return posix_.remove(path); }
    int list(const std::filesystem::path& folder, std::vector<std::string>& names) override {
        return posix_.list(folder, names);
    }
    std::string boot_id() override { return posix_.boot_id(); }
    std::int64_t now_us() override { return posix_.now_us(); }

    std::uint64_t written_bytes = 0;

  private:
    Storage& posix_ = posix_storage();
};

struct Account {
    TemporaryFolder folder;
    Filling disk;
    SpaceAccount space{10 * kMiB, disk};
    Account() { space.keep_free_at(folder.path()); }
};

}  // namespace

TEST_CASE("claims share what is above twice the reserve, and give back what they did not spend") {
    Account account;
    account.disk.free_bytes = 100 * kMiB;
    const auto claim = [&](std::uint64_t mib) {
        return account.space.claim(account.folder.path(), mib * kMiB, "the import of x.raw");
    };
    CHECK_FALSE(claim(81));
    CHECK(claim(80));  // let go at once
    auto first = claim(50);
    REQUIRE(first);
    const auto refused = claim(31);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::exhausted);
    for (const char* const part : {"the import of x.raw", "needs 31.0 MiB", "100.0 MiB are free",
                                   "20.0 MiB of these are kept", "50.0 MiB are for other work"})
        CHECK(refused.error().message.find(part) != std::string::npos);
    CHECK(claim(30));
    account.disk.free_bytes -= 40 * kMiB;  // as the first writes
    REQUIRE(first->spend(40 * kMiB));
    CHECK(claim(30));
    CHECK_FALSE(claim(31));
}

TEST_CASE(
    "who writes more than he claimed claims it then, and stops where others filled the disk") {
    Account account;
    account.disk.free_bytes = 60 * kMiB;
    auto claim = account.space.claim(account.folder.path(), 0, "the upload x");
    REQUIRE(claim);
    REQUIRE(claim->ensure(30 * kMiB));
    REQUIRE(claim->ensure(20 * kMiB));  // it has that
    CHECK_FALSE(claim->ensure(41 * kMiB));
    for (int i = 0; i < 30; ++i) {
        account.disk.free_bytes -= kMiB;
        REQUIRE(claim->spend(kMiB));
    }
    for (int i = 0; i < 10; ++i) {  // what is left above twice the reserve
        REQUIRE(claim->spend(kMiB));
        account.disk.free_bytes -= kMiB;
    }
    CHECK_FALSE(claim->spend(kMiB));
    account.disk.free_bytes = 19 * kMiB;
    CHECK_FALSE(claim->check());
}

TEST_CASE("a filesystem that holds nothing of ours may be filled") {
    Account account;
    account.disk.free_bytes = 60 * kMiB;
    CHECK(account.space.claim("/proc", 60 * kMiB, "the export"));
    CHECK_FALSE(account.space.claim("/proc", 61 * kMiB, "the export"));
}

TEST_CASE("an import that does not fit is refused before it writes; what the store has, fits") {
    Account account;
    account.disk.free_bytes = 1000 * kMiB;
    auto opened =
        ImageStore::open(account.folder.path() / "store", 0, account.disk, &account.space);
    REQUIRE(opened);
    ImageStore& store = **opened;
    const auto file = account.folder.path() / "a.img";
    auto disk = random_bytes(4 * kMiB, 1);
    write_file(file, disk);
    const auto version = import_ok(store, file, "raw");
    account.disk.free_bytes = 22 * kMiB;
    account.disk.written_bytes = 0;

    import_ok(store, file, "raw");  // nothing of it is new
    CHECK(account.disk.written_bytes == 0);
    disk[0] ^= 1;
    write_file(file, disk);
    import_ok(store, file, "raw");  // one chunk is
    CHECK(account.disk.written_bytes < kMiB);

    write_file(file, random_bytes(4 * kMiB, 2));
    account.disk.written_bytes = 0;
    const Error refused = import_error(store, file, "raw");
    CHECK(refused.kind == ErrorKind::exhausted);
    CHECK(refused.message.find("needs 4.0 MiB") != std::string::npos);
    CHECK(account.disk.written_bytes == 0);

    Progress progress;
    std::vector<std::uint64_t> changed;
    for (std::uint64_t i = 0; i < 40; ++i) changed.push_back(i);
    const auto commit = store.commit(
        version.digest, changed, [](std::uint64_t, std::uint8_t*) { return Result<>(); }, progress);
    REQUIRE_FALSE(commit);
    CHECK(commit.error().kind == ErrorKind::exhausted);
    const auto exported =
        store.export_version(version.digest, account.folder.path() / "out.raw", "raw", progress);
    REQUIRE_FALSE(exported);
    CHECK(exported.error().kind == ErrorKind::exhausted);
    CHECK_FALSE(std::filesystem::exists(account.folder.path() / "out.raw"));
}
