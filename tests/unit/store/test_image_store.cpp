#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "store_fixture.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

TEST_CASE("a raw image reads back as it was, its zero chunks unstored") {
    TemporaryFolder folder;
    const auto disk = sample_disk(9 * kChunkBytes + 512, 1);
    write_file(folder / "a.img", disk);
    auto store = open_store(folder / "store");
    const VersionInfo info = import_ok(*store, folder / "a.img");
    CHECK(info.size_bytes == disk.size());
    CHECK(info.stored_bytes < disk.size());
    CHECK(info.unique_bytes == info.stored_bytes);
    auto version = store->open_version(info.digest);
    REQUIRE(version);
    CHECK(read_version(**version) == disk);
    CHECK((*version)->digest() == info.digest);
}

TEST_CASE("a size that is no multiple of 512 is padded with zeros") {
    TemporaryFolder folder;
    auto disk = sample_disk(kChunkBytes + 700, 2);
    write_file(folder / "a.img", disk);
    auto store = open_store(folder / "store");
    const VersionInfo info = import_ok(*store, folder / "a.img");
    disk.resize(kChunkBytes + 1024);
    CHECK(info.size_bytes == disk.size());
    CHECK(read_version(**store->open_version(info.digest)) == disk);
}

TEST_CASE("holes of a sparse file are skipped and read as zero") {
    TemporaryFolder folder;
    const auto file = folder / "sparse.img";
    constexpr std::uint64_t kSize = 300ull << 20;
    const auto data = random_bytes(kChunkBytes, 3);
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT, 0600);
    REQUIRE(fd >= 0);
    REQUIRE(::ftruncate(fd, static_cast<off_t>(kSize)) == 0);
    REQUIRE(::pwrite(fd, data.data(), data.size(), 200 << 20) == static_cast<ssize_t>(data.size()));
    ::close(fd);
    auto store = open_store(folder / "store");
    const VersionInfo info = import_ok(*store, file, "raw");
    CHECK(info.size_bytes == kSize);
    CHECK(info.stored_bytes == kChunkBytes);
    const auto version = *store->open_version(info.digest);
    CHECK(version->location(0) == kZeroChunk);
    CHECK(version->location((200 << 20) / kChunkBytes) != kZeroChunk);
}

TEST_CASE("versions share equal chunks and count what is theirs alone") {
    TemporaryFolder folder;
    auto disk = random_bytes(8 * kChunkBytes, 4);
    auto store = open_store(folder / "store");
    write_file(folder / "a.img", disk);
    const auto a = import_ok(*store, folder / "a.img", "raw");
    disk[5 * kChunkBytes] ^= 1;
    write_file(folder / "b.img", disk);
    const auto b = import_ok(*store, folder / "b.img", "raw");
    CHECK(a.digest != b.digest);
    CHECK(b.unique_bytes == kChunkBytes);
    auto list = *store->list();
    REQUIRE(list.size() == 2);
    for (const auto& info : list) CHECK(info.unique_bytes == kChunkBytes);

    REQUIRE(store->remove(a.digest));
    list = *store->list();
    REQUIRE(list.size() == 1);
    CHECK(list[0].digest == b.digest);
    CHECK(list[0].unique_bytes == 8 * kChunkBytes);
    CHECK(read_version(**store->open_version(b.digest)) == disk);
}

TEST_CASE("the same image twice is one version") {
    TemporaryFolder folder;
    write_file(folder / "a.img", sample_disk(4 * kChunkBytes, 5));
    auto store = open_store(folder / "store");
    const auto first = import_ok(*store, folder / "a.img");
    const auto second = import_ok(*store, folder / "a.img");
    CHECK(first.digest == second.digest);
    CHECK(store->list()->size() == 1);
}

TEST_CASE("versions survive closing and opening the store") {
    TemporaryFolder folder;
    const auto disk = sample_disk(6 * kChunkBytes, 6);
    write_file(folder / "a.img", disk);
    std::string digest;
    digest = import_ok(*open_store(folder / "store"), folder / "a.img").digest;
    auto store = open_store(folder / "store");
    REQUIRE(store->list()->size() == 1);
    CHECK(read_version(**store->open_version(digest)) == disk);
}

TEST_CASE("an open version is not removed; a removed one gives its space back") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(64 * kChunkBytes, 7));
    auto store = open_store(folder / "store");
    const auto info = import_ok(*store, folder / "a.img", "raw");
    const auto before = allocated_bytes(folder / "store/packs");
    CHECK(before >= 64 * kChunkBytes);
    {
        const auto version = *store->open_version(info.digest);
        const auto removed = store->remove(info.digest);
        REQUIRE_FALSE(removed);
        CHECK(removed.error().kind == ErrorKind::conflict);
        CHECK(read_version(*version) == random_bytes(64 * kChunkBytes, 7));
    }
    REQUIRE(store->remove(info.digest));
    CHECK(allocated_bytes(folder / "store/packs") == 0);
    CHECK(store->list()->empty());
    CHECK(store->open_version(info.digest).error().kind == ErrorKind::not_found);
    CHECK(store->remove(info.digest).error().kind == ErrorKind::not_found);
}

TEST_CASE("freed slots are used again") {
    TemporaryFolder folder;
    auto store = open_store(folder / "store");
    write_file(folder / "a.img", random_bytes(32 * kChunkBytes, 8));
    const auto a = import_ok(*store, folder / "a.img", "raw");
    REQUIRE(store->remove(a.digest));
    const auto disk = random_bytes(16 * kChunkBytes, 9);
    write_file(folder / "b.img", disk);
    const auto b = import_ok(*store, folder / "b.img", "raw");
    CHECK(std::filesystem::file_size(folder / "store/packs/00000000.pack") <= 32 * kChunkBytes);
    CHECK(read_version(**store->open_version(b.digest)) == disk);
}

TEST_CASE("a store in use, or of a later format, is refused") {
    TemporaryFolder folder;
    {
        auto store = open_store(folder / "store");
        const auto second = ImageStore::open(folder / "store");
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == ErrorKind::conflict);
        CHECK_THAT(second.error().message, Contains("in use by another process"));
    }
    std::ofstream(folder / "store/format") << "goldlink image store 2\n";
    const auto later = ImageStore::open(folder / "store");
    REQUIRE_FALSE(later);
    CHECK_THAT(later.error().message, Contains("goldlink image store 2"));
}

TEST_CASE("verify names the chunk, the versions and the offsets a bad disk block hits") {
    TemporaryFolder folder;
    auto disk = random_bytes(8 * kChunkBytes, 10);
    auto store = open_store(folder / "store");
    write_file(folder / "a.img", disk);
    const auto a = import_ok(*store, folder / "a.img", "raw");
    disk[0] ^= 1;
    write_file(folder / "b.img", disk);
    const auto b = import_ok(*store, folder / "b.img", "raw");
    Progress progress;
    REQUIRE(store->verify(a.digest, progress));
    CHECK(store->verify(a.digest, progress)->empty());

    {
        const auto version = *store->open_version(a.digest);
        const auto location = version->location(3);
        const int fd = ::open((folder / "store/packs/00000000.pack").c_str(), O_RDWR);
        REQUIRE(fd >= 0);
        const char bad = static_cast<char>(disk[3 * kChunkBytes + 77] ^ 0x10);
        REQUIRE(::pwrite(fd, &bad, 1,
                         static_cast<off_t>(Version::slot_offset_bytes(location)) + 77) == 1);
        ::close(fd);
    }
    const auto findings = store->verify(a.digest, progress);
    REQUIRE(findings);
    REQUIRE(findings->size() == 1);
    const auto& finding = findings->front();
    REQUIRE(finding.uses.size() == 2);
    CHECK(finding.uses[0].offset_bytes == 3 * kChunkBytes);
    CHECK(finding.uses[1].offset_bytes == 3 * kChunkBytes);
    CHECK(((finding.uses[0].version_digest == a.digest &&
            finding.uses[1].version_digest == b.digest) ||
           (finding.uses[0].version_digest == b.digest &&
            finding.uses[1].version_digest == a.digest)));

    Progress exporting;
    const auto exported = store->export_version(a.digest, folder / "a.out", "raw", exporting);
    REQUIRE_FALSE(exported);
    CHECK(exported.error().kind == ErrorKind::corrupt);
    CHECK_FALSE(std::filesystem::exists(folder / "a.out"));
}

TEST_CASE("commit makes a version of the base and the changed chunks") {
    TemporaryFolder folder;
    auto disk = random_bytes(6 * kChunkBytes + 512, 11);
    auto store = open_store(folder / "store");
    write_file(folder / "a.img", disk);
    const auto base = import_ok(*store, folder / "a.img", "raw");
    const auto changed = random_bytes(kChunkBytes, 12);
    Progress progress;
    const auto committed = store->commit(
        base.digest, {1, 6},
        [&](std::uint64_t offset, std::uint8_t* chunk) -> Result<> {
            if (offset == kChunkBytes)
                std::copy(changed.begin(), changed.end(), chunk);
            else
                std::fill_n(chunk, kChunkBytes, std::uint8_t{9});  // past the disk's end too
            return {};
        },
        progress);
    REQUIRE(committed);
    CHECK(committed->size_bytes == base.size_bytes);
    CHECK(committed->unique_bytes == 2 * kChunkBytes);
    std::copy(changed.begin(), changed.end(), disk.begin() + kChunkBytes);
    std::fill(disk.begin() + 6 * kChunkBytes, disk.end(), std::uint8_t{9});
    CHECK(read_version(**store->open_version(committed->digest)) == disk);

    // The same disk imported is the same version: what lies past the end does not count.
    write_file(folder / "same.img", disk);
    CHECK(import_ok(*store, folder / "same.img", "raw").digest == committed->digest);
}

TEST_CASE("a cancelled or failed import leaves nothing behind") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(400 * kChunkBytes, 13));
    auto store = open_store(folder / "store");
    SECTION("cancelled before it begins") {
        Progress progress;
        progress.cancel = true;
        const auto info = store->import({folder / "a.img", "raw"}, progress);
        REQUIRE_FALSE(info);
        CHECK(info.error().kind == ErrorKind::cancelled);
    }
    SECTION("cancelled while it runs") {
        Progress progress;
        std::thread canceller([&progress] {
            while (progress.done_bytes == 0) std::this_thread::yield();
            progress.cancel = true;
        });
        const auto info = store->import({folder / "a.img", "raw"}, progress);
        canceller.join();
        if (info) return;  // it was quicker than the canceller
        CHECK(info.error().kind == ErrorKind::cancelled);
    }
    CHECK(store->list()->empty());
    CHECK(allocated_bytes(folder / "store/packs") == 0);
    CHECK(std::filesystem::is_empty(folder / "store/manifests"));
    CHECK(std::filesystem::is_empty(folder / "store/spool"));
}

TEST_CASE("imports at once share chunks and both are whole") {
    TemporaryFolder folder;
    auto disk = random_bytes(100 * kChunkBytes, 14);
    write_file(folder / "a.img", disk);
    auto other = disk;
    other[50 * kChunkBytes] ^= 1;
    write_file(folder / "b.img", other);
    auto store = open_store(folder / "store");
    Progress progress_a, progress_b;
    Result<VersionInfo> a, b;
    std::thread thread([&] { a = store->import({folder / "a.img", "raw"}, progress_a); });
    b = store->import({folder / "b.img", "raw"}, progress_b);
    thread.join();
    REQUIRE(a);
    REQUIRE(b);
    CHECK(read_version(**store->open_version(a->digest)) == disk);
    CHECK(read_version(**store->open_version(b->digest)) == other);
    const auto both = *store->list();
    for (const auto& info : both) CHECK(info.unique_bytes == kChunkBytes);
    // No duplicate stays stored (the filesystem may count a block of its own).
    CHECK(allocated_bytes(folder / "store/packs") < 102 * kChunkBytes);
}

TEST_CASE("a blank version is a manifest and no data, the same for the same size") {
    TemporaryFolder folder;
    auto store = open_store(folder / "store");
    const auto made = store->make_blank(3 * kChunkBytes + 512);
    REQUIRE(made);
    CHECK(made->size_bytes == 3 * kChunkBytes + 512);
    CHECK(made->stored_bytes == 0);
    CHECK(allocated_bytes(folder / "store/packs") == 0);
    const auto version = store->open_version(made->digest);
    REQUIRE(version);
    CHECK(read_version(**version) == DiskBytes(3 * kChunkBytes + 512));
    CHECK(store->make_blank(3 * kChunkBytes + 512)->digest == made->digest);
    CHECK(store->make_blank(3 * kChunkBytes)->digest != made->digest);
    CHECK(store->list()->size() == 2);
    for (const std::uint64_t size : {0ULL, 1ULL, 513ULL, (2ULL << 40) + 512}) {
        const auto refused = store->make_blank(size);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::invalid);
    }
}
