// A version goes although its manifest is lost, and takes with it what no other version needs.
#include <set>

#include "store_fixture.hpp"
#include "target/store/garbage.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

using Chunks = std::set<std::size_t>;

// Versions that share chunks in every way that three can, and a fourth with one of its own.
const std::vector<Chunks> kVersions = {{0, 1, 2, 3}, {1, 3, 4, 5}, {2, 3, 5, 6}, {3, 7}};
constexpr std::size_t kChunkKinds = 8;

struct Sharing {
    TemporaryFolder folder;
    std::unique_ptr<ImageStore> store = open_store(folder / "store");
    std::vector<std::string> digests;
    std::set<std::size_t> there{0, 1, 2, 3};

    Sharing() {
        for (std::size_t i = 0; i < kVersions.size(); ++i) {
            DiskBytes disk(kChunkKinds * kChunkBytes, 0);
            for (const std::size_t chunk : kVersions[i]) {
                const DiskBytes content = random_bytes(kChunkBytes, 100 + chunk);
                std::copy(content.begin(), content.end(),
                          disk.begin() + static_cast<std::ptrdiff_t>(chunk * kChunkBytes));
            }
            const auto file = folder / "disk.img";
            write_file(file, disk);
            digests.push_back(import_ok(*store, file, "raw").digest);
        }
    }

    void lose_manifest(std::size_t version) {
        REQUIRE(std::filesystem::remove(folder / "store/manifests" / digests[version]));
    }
    std::uint64_t bytes_to_come_back(std::size_t version) {
        const auto garbage = store->garbage({digests[version]});
        REQUIRE(garbage);
        REQUIRE(garbage->versions[0]);
        return *garbage->versions[0];
    }
    void remove(std::size_t version) {
        const auto removed = store->remove(digests[version]);
        if (!removed) FAIL(removed.error().message);
        there.erase(version);
    }
    std::size_t alone(std::size_t version) const {
        Chunks chunks = kVersions[version];
        for (const std::size_t other : there)
            if (other != version)
                for (const std::size_t chunk : kVersions[other]) chunks.erase(chunk);
        return chunks.size();
    }
    void check_what_is_there() {
        const auto list = store->list();
        REQUIRE(list);
        REQUIRE(list->size() == there.size());
        for (const VersionInfo& info : *list)
            for (const std::size_t version : there)
                if (info.digest == digests[version])
                    CHECK(info.unique_bytes == alone(version) * kChunkBytes);
        const auto garbage = store->garbage({});
        REQUIRE(garbage);
        CHECK(garbage->orphan_chunks == 0);
    }
};

}  // namespace

TEST_CASE("a version whose manifest is lost is removed with the chunks that only it used") {
    Sharing sharing;
    const std::vector<std::size_t> lost = GENERATE(
        std::vector<std::size_t>{0}, std::vector<std::size_t>{2}, std::vector<std::size_t>{0, 1},
        std::vector<std::size_t>{2, 1, 0}, std::vector<std::size_t>{1, 3, 2});
    CAPTURE(lost);
    for (const std::size_t version : lost) sharing.lose_manifest(version);
    for (const std::size_t version : lost) {
        CHECK(sharing.bytes_to_come_back(version) == sharing.alone(version) * kChunkBytes);
        sharing.remove(version);
        sharing.check_what_is_there();
    }
    sharing.store.reset();
    sharing.store = open_store(sharing.folder / "store");
    sharing.check_what_is_there();
    const std::set<std::size_t> rest = sharing.there;
    for (const std::size_t version : rest) {
        const auto opened = sharing.store->open_version(sharing.digests[version]);
        REQUIRE(opened);
        CHECK(read_version(**opened).size() == kChunkKinds * kChunkBytes);
    }
    for (const std::size_t version : rest) {
        CHECK(sharing.bytes_to_come_back(version) == sharing.alone(version) * kChunkBytes);
        sharing.remove(version);
        sharing.check_what_is_there();
    }
    CHECK(allocated_bytes(sharing.folder / "store/packs") == 0);
}

TEST_CASE("of many lost versions none takes a chunk that another one may need") {
    Sharing sharing;
    for (std::size_t version = 0; version < 4; ++version) sharing.lose_manifest(version);
    for (std::size_t version = 0; version < 3; ++version) sharing.remove(version);
    const auto mended = import_ok(*sharing.store, sharing.folder / "disk.img", "raw");
    REQUIRE(mended.digest == sharing.digests[3]);
    const auto opened = sharing.store->open_version(mended.digest);
    REQUIRE(opened);
    const DiskBytes disk = read_version(**opened);
    for (const std::size_t chunk : kVersions[3]) {
        const DiskBytes content = random_bytes(kChunkBytes, 100 + chunk);
        CHECK(std::equal(content.begin(), content.end(),
                         disk.begin() + static_cast<std::ptrdiff_t>(chunk * kChunkBytes)));
    }
}
