// An index that is made from packs and manifests: what is missing is named, what nobody names is
// kept, and the store goes on as before.
#include "store_fixture.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/store_rebuild.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace fs = std::filesystem;

namespace {

struct Room {
    TemporaryFolder folder;
    fs::path root = folder / "store";
    DiskBytes first = random_bytes(10 * kChunkBytes, 1), second = first;
    std::string first_digest, second_digest;

    Room() {  // two versions that share eight chunks
        for (const std::size_t chunk : {3u, 4u}) second[chunk * kChunkBytes] ^= 1;
        auto store = open_store(root);
        write_file(folder / "a.img", first);
        first_digest = import_ok(*store, folder / "a.img", "raw").digest;
        write_file(folder / "b.img", second);
        second_digest = import_ok(*store, folder / "b.img", "raw").digest;
    }
    RebuildReport rebuild(bool drop_unnamed = false) {
        auto report = rebuild_index(root, drop_unnamed, nullptr);
        if (!report) FAIL(report.error().message);
        return *report;
    }
    std::size_t offset_in_pack(const DiskBytes& disk, std::size_t chunk) const {
        const auto pack = read_whole(root / "packs/00000000.pack");
        for (std::size_t at = 0; at < pack.size(); at += kChunkBytes)
            if (std::equal(pack.begin() + static_cast<std::ptrdiff_t>(at),
                           pack.begin() + static_cast<std::ptrdiff_t>(at + kChunkBytes),
                           disk.begin() + static_cast<std::ptrdiff_t>(chunk * kChunkBytes)))
                return at;
        FAIL("no such chunk");
        return 0;
    }
};

}  // namespace

TEST_CASE("a rebuilt index counts what versions share as the old one did") {
    Room room;
    const auto before = *open_store(room.root)->list();
    const auto report = room.rebuild();
    CHECK(report.versions == 2);
    CHECK(report.chunks == 12);
    CHECK(report.set_aside == room.root / "index.before-1");
    CHECK(fs::exists(report.set_aside / "data.mdb"));
    auto store = open_store(room.root);
    const auto after = *store->list();
    REQUIRE(after.size() == before.size());
    for (std::size_t i = 0; i < after.size(); ++i) {
        CHECK(after[i].digest == before[i].digest);
        CHECK(after[i].size_bytes == before[i].size_bytes);
        CHECK(after[i].stored_bytes == before[i].stored_bytes);
        CHECK(after[i].unique_bytes == before[i].unique_bytes);
        CHECK(after[i].damage.empty());
    }
    REQUIRE(store->remove(room.first_digest));  // its two chunks leave, the shared ones stay
    CHECK(read_version(**store->open_version(room.second_digest)) == room.second);
    CHECK(store->list()->front().unique_bytes == 10 * kChunkBytes);
}

TEST_CASE("a version whose chunk is in no pack is damaged by name, and mended from its file") {
    Room room;
    {
        const auto at = room.offset_in_pack(room.first, 3);
        auto pack = read_whole(room.root / "packs/00000000.pack");
        pack[at + 5] ^= 1;
        write_file(room.root / "packs/00000000.pack", pack);
    }
    const auto report = room.rebuild();
    CHECK(report.damaged_versions == std::vector<std::string>{room.first_digest});
    CHECK(report.unnamed_chunks == 1);  // what the damaged bytes hash to
    auto store = open_store(room.root);
    const auto versions = *store->list();
    for (const VersionInfo& info : versions) {
        CHECK(info.damage.empty() == (info.digest == room.second_digest));
        CHECK(info.bad_bytes == (info.digest == room.first_digest ? kChunkBytes : 0));
    }
    CHECK(read_version(**store->open_version(room.second_digest)) == room.second);
    Progress progress;
    const auto mended = store->repair(room.first_digest, {room.folder / "a.img", "raw"}, progress);
    REQUIRE(mended);
    CHECK(mended->mended_chunks == 1);
    CHECK(read_version(**store->open_version(room.first_digest)) == room.first);
    store.reset();
    store = open_store(room.root);
    CHECK(store->verify(room.first_digest, progress)->empty());
}

TEST_CASE("chunks whose manifest is missing are kept for its return, until they are dropped") {
    Room room;
    const auto manifest = room.root / "manifests" / room.first_digest;
    fs::rename(manifest, room.folder / "kept");
    fs::remove_all(room.root / "index");
    CHECK(room.rebuild().unnamed_chunks == 2);
    write_file(room.folder / "c.img", random_bytes(6 * kChunkBytes, 9));
    {
        auto store = open_store(room.root);
        import_ok(*store, room.folder / "c.img", "raw");  // takes no slot of theirs
    }
    SECTION("it comes back") {
        fs::rename(room.folder / "kept", manifest);
        const auto report = room.rebuild();
        CHECK(report.versions == 3);
        CHECK(report.unnamed_chunks == 0);
        CHECK(report.damaged_versions.empty());
        auto store = open_store(room.root);
        CHECK(read_version(**store->open_version(room.first_digest)) == room.first);
    }
    SECTION("they are dropped") {
        CHECK(room.rebuild(true).unnamed_chunks == 2);
        auto index = ChunkIndex::open(room.root / "index");
        REQUIRE(index);
        const auto txn = (*index)->begin_read();
        std::size_t free = 0, chunks = 0;
        REQUIRE(txn->for_each_free([&](std::uint64_t) { ++free; }));
        REQUIRE(txn->for_each_chunk([&](const Digest&, const ChunkRecord&) {
            ++chunks;
            return Result<>();
        }));
        CHECK(free == 2);
        CHECK(chunks == 16);
    }
}

TEST_CASE("a damaged manifest is a damaged version, and the rest is served") {
    Room room;
    auto manifest = read_whole(room.root / "manifests" / room.first_digest);
    manifest[70] ^= 1;
    write_file(room.root / "manifests" / room.first_digest, manifest);
    const auto report = room.rebuild();
    REQUIRE(report.unusable_manifests.size() == 1);
    CHECK(report.unusable_manifests[0].find(room.first_digest) != std::string::npos);
    auto store = open_store(room.root);
    CHECK(store->problem().empty());
    CHECK_FALSE(store->open_version(room.first_digest));
    CHECK(read_version(**store->open_version(room.second_digest)) == room.second);
}

TEST_CASE("a rebuild begins anew after a kill, and not beside a process that has the store open") {
    Room room;
    fs::create_directory(room.root / "index.rebuilding");
    write_file(room.root / "index.rebuilding/data.mdb", random_bytes(9000, 2));
    CHECK(room.rebuild().versions == 2);
    CHECK_FALSE(fs::exists(room.root / "index.rebuilding"));
    auto store = open_store(room.root);
    const auto refused = rebuild_index(room.root, false, nullptr);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::conflict);
    CHECK(rebuild_index(room.folder / "none", false, nullptr).error().kind == ErrorKind::not_found);
}

TEST_CASE("a rebuild of an empty folder is refused: its disk may not be mounted") {
    TemporaryFolder folder;
    fs::create_directories(folder / "store/packs");
    const auto refused = rebuild_index(folder / "store", false, nullptr);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("mounted") != std::string::npos);
    CHECK_FALSE(fs::exists(folder / "store/index"));
}
