// A version that comes from another store by what is missing of it.
#include <fcntl.h>
#include <unistd.h>

#include "common/file.hpp"
#include "store_fixture.hpp"
#include "target/store/version_transfer.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

namespace {

struct Stores {
    TemporaryFolder folder;
    std::unique_ptr<ImageStore> from = open_store(folder / "from"), to = open_store(folder / "to");

    std::string import(const DiskBytes& disk) {
        write_file(folder / "disk.raw", disk);
        return import_ok(*from, folder / "disk.raw", "raw").digest;
    }
    DiskBytes digests_of(const std::string& version) const {
        const DiskBytes all = read_whole(*from->manifest_file(version));
        return {all.begin() + 64, all.end()};
    }
};

std::size_t count_missing(VersionTransfer& transfer, const DiskBytes& digests) {
    const auto missing = transfer.missing(digests);
    REQUIRE(missing);
    REQUIRE(missing->size() == digests.size() / 32);
    return static_cast<std::size_t>(std::count(missing->begin(), missing->end(), 1));
}

void send(ImageStore& from, VersionTransfer& transfer, const DiskBytes& digests) {
    const auto missing = *transfer.missing(digests);
    for (std::size_t i = 0; i < missing.size(); ++i) {
        if (missing[i] == 0) continue;
        const auto chunk = from.read_chunks(Bytes(digests).subspan(i * 32, 32));
        REQUIRE(chunk);
        REQUIRE(transfer.store(*chunk));
    }
}

}  // namespace

TEST_CASE("a version arrives by its missing chunks, and is refused until they are there") {
    Stores stores;
    DiskBytes disk = sample_disk(3 << 20, 5);
    const std::string first = stores.import(disk);
    const DiskBytes digests = stores.digests_of(first);
    auto transfer = stores.to->begin_transfer();
    REQUIRE(transfer);
    const auto finish = [&](const std::string& version) {
        return (*transfer)->finish(*stores.from->manifest_file(version), *parse_digest(version));
    };
    const std::size_t all = count_missing(**transfer, digests);
    CHECK(all > 10);
    CHECK_THAT(finish(first).error().message, Contains(std::to_string(all) + " chunks"));
    send(*stores.from, **transfer, digests);
    CHECK(count_missing(**transfer, digests) == 0);
    const auto made = finish(first);
    if (!made) FAIL(made.error().message);
    CHECK(made->digest == first);
    CHECK(read_version(**stores.to->open_version(first)) == disk);

    disk[70'000] ^= 1;
    const std::string second = stores.import(disk);
    CHECK(count_missing(**transfer, stores.digests_of(second)) == 1);
    // A manifest under another digest, and one that is none, make nothing.
    CHECK((*transfer)
              ->finish(*stores.from->manifest_file(second), *parse_digest(first))
              .error()
              .kind == ErrorKind::corrupt);
    CHECK((*transfer)->finish(stores.folder / "disk.raw", *parse_digest(first)).error().kind ==
          ErrorKind::corrupt);
    CHECK(stores.to->list()->size() == 1);
}

TEST_CASE("chunks are passed on as they are, and none when one is not here") {
    Stores stores;
    const DiskBytes disk = random_bytes(20 * kChunkBytes, 8);
    const DiskBytes digests = stores.digests_of(stores.import(disk));
    DiskBytes passed;
    const auto take = [&](Bytes chunks) -> Result<> {
        CHECK(chunks.size() % kChunkBytes == 0);
        passed.insert(passed.end(), chunks.begin(), chunks.end());
        return {};
    };
    REQUIRE(stores.from->pass_chunks(digests, take));
    CHECK((passed == disk));
    passed.clear();
    DiskBytes unknown = digests;
    unknown.back() ^= 1;
    const auto refused = stores.from->pass_chunks(unknown, take);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::not_found);
    CHECK(passed.empty());
    const auto ended = stores.from->pass_chunks(
        digests, [](Bytes) -> Result<> { return failure(ErrorKind::timeout, "he left"); });
    CHECK(ended.error().kind == ErrorKind::timeout);
}

TEST_CASE("a chunk damaged on the way stays missing; a transfer given up leaves nothing") {
    Stores stores;
    const std::string version = stores.import(sample_disk(1 << 20, 6));
    const DiskBytes digests = stores.digests_of(version);
    {
        auto transfer = stores.to->begin_transfer();
        const std::size_t all = count_missing(**transfer, digests);
        auto chunk = *stores.from->read_chunks(Bytes(digests).first(32));
        chunk[5] ^= 1;
        REQUIRE((*transfer)->store(chunk));
        CHECK(count_missing(**transfer, digests) == all);
        chunk[5] ^= 1;
        REQUIRE((*transfer)->store(chunk));
        CHECK(count_missing(**transfer, digests) == all - 1);
    }
    CHECK(allocated_bytes(stores.folder / "to/packs") == 0);
    auto transfer = stores.to->begin_transfer();
    CHECK(count_missing(**transfer, digests) > 0);
    CHECK(stores.from->read_chunks(DiskBytes(32, 7)).error().kind == ErrorKind::not_found);
    CHECK(stores.from->manifest_file(std::string(64, '0')).error().kind == ErrorKind::not_found);
}

namespace {

// Flips a bit of a chunk of the receiving store, and lets it be found.
void damage(Stores& stores, const std::string& version, std::uint64_t chunk) {
    const auto location = (*stores.to->open_version(version))->location(chunk);
    const FileDescriptor pack(
        ::open((stores.folder / "to/packs/00000000.pack").c_str(), O_RDWR | O_CLOEXEC));
    const auto at = static_cast<off_t>(Version::slot_offset_bytes(location)) + 99;
    char byte = 0;
    REQUIRE(::pread(pack.get(), &byte, 1, at) == 1);
    byte ^= 1;
    REQUIRE(::pwrite(pack.get(), &byte, 1, at) == 1);
}

std::size_t verify(ImageStore& store, const std::string& version) {
    Progress progress;
    const auto findings = store.verify(version, progress);
    if (!findings) FAIL(findings.error().message);
    return findings->size();
}

}  // namespace

TEST_CASE("a chunk that is here but bad is missing, and mended by what comes") {
    Stores stores;
    DiskBytes disk = random_bytes(8 * kChunkBytes, 8);
    const std::string first = stores.import(disk);
    write_file(stores.folder / "copy.raw", disk);
    REQUIRE(import_ok(*stores.to, stores.folder / "copy.raw", "raw").digest == first);
    damage(stores, first, 2);
    damage(stores, first, 5);
    const DiskBytes digests = stores.digests_of(first);
    {
        // Not yet found to be bad, it is taken for good.
        auto early = stores.to->begin_transfer();
        CHECK(count_missing(**early, digests) == 0);
    }
    CHECK(verify(*stores.to, first) == 2);
    SECTION("by a repair") {
        auto transfer = stores.to->begin_transfer();
        CHECK(count_missing(**transfer, digests) == 2);
        const auto chunk = stores.from->read_chunks(Bytes(digests).subspan(2 * 32, 32));
        REQUIRE((*transfer)->store(*chunk));
        const auto some =
            (*transfer)->mend(*stores.from->manifest_file(first), *parse_digest(first));
        if (!some) FAIL(some.error().message);
        CHECK(some->bad_chunks == 2);
        CHECK(some->mended_chunks == 1);
        CHECK_FALSE(some->manifest_mended);
        send(*stores.from, **transfer, digests);
        const auto all =
            (*transfer)->mend(*stores.from->manifest_file(first), *parse_digest(first));
        REQUIRE(all);
        CHECK(all->mended_chunks == all->bad_chunks);
        CHECK(verify(*stores.to, first) == 0);
        // A version that is not here is not made by it.
        disk[0] ^= 1;
        const std::string other = stores.import(disk);
        CHECK((*transfer)
                  ->mend(*stores.from->manifest_file(other), *parse_digest(other))
                  .error()
                  .kind == ErrorKind::not_found);
    }
    SECTION("by a version that shares it") {
        disk[0] ^= 1;
        const std::string second = stores.import(disk);
        auto transfer = stores.to->begin_transfer();
        const DiskBytes asked = stores.digests_of(second);
        CHECK(count_missing(**transfer, asked) == 3);
        const auto changed = stores.from->read_chunks(Bytes(asked).first(32));
        REQUIRE((*transfer)->store(*changed));
        const auto early =
            (*transfer)->finish(*stores.from->manifest_file(second), *parse_digest(second));
        CHECK_THAT(early.error().message,
                   Contains("2 chunks of the version are missing or damaged"));
        send(*stores.from, **transfer, asked);
        REQUIRE((*transfer)->finish(*stores.from->manifest_file(second), *parse_digest(second)));
        CHECK(verify(*stores.to, first) == 0);
    }
    CHECK(read_version(**stores.to->open_version(first)) == random_bytes(8 * kChunkBytes, 8));
}

TEST_CASE("a lost manifest is made anew by a repair") {
    Stores stores;
    const DiskBytes disk = random_bytes(2 * kChunkBytes, 9);
    const std::string version = stores.import(disk);
    write_file(stores.folder / "copy.raw", disk);
    REQUIRE(import_ok(*stores.to, stores.folder / "copy.raw", "raw").digest == version);
    std::filesystem::remove(stores.folder / "to/manifests" / version);
    auto transfer = stores.to->begin_transfer();
    CHECK(count_missing(**transfer, stores.digests_of(version)) == 0);
    const auto mended =
        (*transfer)->mend(*stores.from->manifest_file(version), *parse_digest(version));
    if (!mended) FAIL(mended.error().message);
    CHECK(mended->manifest_mended);
    CHECK(mended->bad_chunks == 0);
    CHECK(read_version(**stores.to->open_version(version)) == disk);
}
