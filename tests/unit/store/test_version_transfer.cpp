// A version that comes from another store by what is missing of it.
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
