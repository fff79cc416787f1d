// What a store holds that nothing needs: found, named with its bytes, and given back.
#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "store_fixture.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/garbage.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

std::uint64_t collect_ok(ImageStore& store, StoreGarbage& went) {
    Progress progress;
    const auto collected = store.collect_left_overs(went, progress);
    if (!collected) FAIL(collected.error().message);
    REQUIRE(store.drop_empty_packs(went));
    return progress.done_bytes;
}

// The filesystem may take some blocks of its own for a file with many holes.
std::uint64_t allocated_chunks(const std::filesystem::path& folder) {
    return allocated_bytes(folder) / kChunkBytes;
}

void check_nothing_left(ImageStore& store) {
    const auto garbage = store.garbage({});
    REQUIRE(garbage);
    CHECK(garbage->manifests.empty());
    CHECK(garbage->orphan_chunks == 0);
    CHECK(garbage->free_slot_bytes == 0);
    CHECK(garbage->packs.empty());
}

}  // namespace

TEST_CASE("what versions give back is told as they go one after the other, and they stay") {
    TemporaryFolder folder;
    auto store = open_store(folder / "store");
    auto disk = random_bytes(8 * kChunkBytes, 1);
    std::vector<std::string> digests;
    for (int i = 0; i < 3; ++i) {  // all share six chunks, the first two one more
        if (i == 2) disk[1 * kChunkBytes] ^= 1;
        disk[static_cast<std::size_t>(7) * kChunkBytes] ^= static_cast<std::uint8_t>(i + 1);
        write_file(folder / "a.img", disk);
        digests.push_back(import_ok(*store, folder / "a.img", "raw").digest);
    }
    const auto bytes_of = [&](const std::vector<std::string>& leaving) {
        std::vector<std::uint64_t> chunks;
        const auto garbage = store->garbage(leaving);
        REQUIRE(garbage);
        for (const auto& bytes : garbage->versions) chunks.push_back(bytes.value() / kChunkBytes);
        return chunks;
    };
    using Chunks = std::vector<std::uint64_t>;
    CHECK(bytes_of({digests[0]}) == Chunks{1});
    CHECK(bytes_of({digests[2]}) == Chunks{2});
    CHECK(bytes_of({digests[0], digests[1]}) == Chunks{1, 2});
    CHECK(bytes_of({digests[1], digests[0]}) == Chunks{1, 2});
    CHECK(bytes_of(digests) == Chunks{1, 2, 8});
    CHECK(store->list()->size() == 3);
    CHECK(store->garbage({std::string(64, 'a')})->versions[0].error().kind == ErrorKind::not_found);

    // All of them were the pack's only content.
    const auto garbage = *store->garbage(digests);
    REQUIRE(garbage.packs.size() == 1);
    CHECK(garbage.packs[0].name == "00000000.pack");
    CHECK(store->garbage({digests[0]})->packs.empty());

    const auto before = allocated_chunks(folder / "store/packs");
    REQUIRE(store->remove(digests[0]));
    REQUIRE(store->remove(digests[1]));
    CHECK(before - allocated_chunks(folder / "store/packs") == 3);
    CHECK(read_version(**store->open_version(digests[2])) == disk);
}

TEST_CASE("packs that were copied with their holes filled give the space of free slots back") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(40 * kChunkBytes, 1));
    write_file(folder / "b.img", random_bytes(8 * kChunkBytes, 2));
    std::string kept;
    {
        auto store = open_store(folder / "store");
        const auto a = import_ok(*store, folder / "a.img", "raw");
        kept = import_ok(*store, folder / "b.img", "raw").digest;
        REQUIRE(store->remove(a.digest));
    }
    const auto pack = folder / "store/packs/00000000.pack";
    const auto bytes = read_whole(pack);
    REQUIRE(bytes.size() == 48 * kChunkBytes);
    write_file(pack, bytes);
    REQUIRE(allocated_chunks(folder / "store/packs") == 48);

    auto store = open_store(folder / "store");
    CHECK(store->garbage({})->free_slot_bytes == 40 * kChunkBytes);
    CHECK(allocated_chunks(folder / "store/packs") == 48);
    StoreGarbage went;
    CHECK(collect_ok(*store, went) == 40 * kChunkBytes);
    CHECK(went.free_slot_bytes == 40 * kChunkBytes);
    CHECK(allocated_chunks(folder / "store/packs") == 8);
    check_nothing_left(*store);
    CHECK(read_version(**store->open_version(kept)) == random_bytes(8 * kChunkBytes, 2));
    // The slots are free as before: what comes next goes there.
    const auto again = import_ok(*store, folder / "a.img", "raw");
    CHECK(read_version(**store->open_version(again.digest)) == random_bytes(40 * kChunkBytes, 1));
    CHECK(std::filesystem::file_size(pack) == 48 * kChunkBytes);
}

namespace {

// As a kill leaves it between a manifest's writing and its naming, or its forgetting and removal.
void note_pending(const std::filesystem::path& store, const std::string& manifest) {
    auto index = ChunkIndex::open(store / "index");
    REQUIRE(index);
    auto txn = (*index)->begin_write();
    REQUIRE(txn);
    REQUIRE(txn->put_pending(*parse_digest(manifest)));
    REQUIRE(txn->commit());
}

}  // namespace

TEST_CASE("manifests that were to come or to go leave, others that the index does not know stay") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    const auto pending = std::string(64, 'b'), unknown = std::string(64, 'c');
    std::string digest;
    {
        auto store = open_store(folder / "store");
        digest = import_ok(*store, folder / "a.img", "raw").digest;
    }
    const auto manifests = folder / "store/manifests";
    note_pending(folder / "store", pending);
    write_file(manifests / pending, DiskBytes(1000));
    write_file(manifests / (pending + ".new"), DiskBytes(10));
    write_file(manifests / "notes.txt", DiskBytes(10));
    {
        auto store = open_store(folder / "store");
        CHECK_FALSE(std::filesystem::exists(manifests / pending));
        CHECK_FALSE(std::filesystem::exists(manifests / (pending + ".new")));
        write_file(manifests / unknown, DiskBytes(1000));  // while it is open
        StoreGarbage went;
        CHECK(collect_ok(*store, went) == 0);
        CHECK(went.manifests.empty());
    }
    CHECK(std::filesystem::exists(manifests / unknown));
    CHECK(std::filesystem::exists(manifests / "notes.txt"));
    CHECK(std::filesystem::exists(manifests / digest));
}

TEST_CASE("packs that nothing needs go; a version's stay") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    auto store = open_store(folder / "store");
    const auto info = import_ok(*store, folder / "a.img", "raw");
    write_file(folder / "store/packs/00000003.pack", random_bytes(kChunkBytes, 2));
    const auto garbage = *store->garbage({});
    REQUIRE(garbage.packs.size() == 1);
    CHECK(garbage.packs[0].bytes == kChunkBytes);
    CHECK(std::filesystem::exists(folder / "store/packs/00000003.pack"));

    StoreGarbage went;
    CHECK(collect_ok(*store, went) == 0);
    CHECK(went.packs.size() == 1);
    CHECK_FALSE(std::filesystem::exists(folder / "store/packs/00000003.pack"));
    check_nothing_left(*store);
    CHECK(read_version(**store->open_version(info.digest)) == random_bytes(4 * kChunkBytes, 1));
}

TEST_CASE("the last version's pack goes with it, and the next import makes a new one") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    const auto pack = folder / "store/packs/00000000.pack";
    auto store = open_store(folder / "store");
    for (int round = 0; round < 2; ++round) {
        const auto info = import_ok(*store, folder / "a.img", "raw");
        StoreGarbage none, went;
        collect_ok(*store, none);
        CHECK(none.packs.empty());
        REQUIRE(store->remove(info.digest));
        CHECK(std::filesystem::exists(pack));
        collect_ok(*store, went);
        CHECK(went.packs.size() == 1);
        CHECK_FALSE(std::filesystem::exists(pack));
        if (round == 0) {
            store.reset();
            store = open_store(folder / "store");
        }
    }
    const auto info = import_ok(*store, folder / "a.img", "raw");
    CHECK(read_version(**store->open_version(info.digest)) == random_bytes(4 * kChunkBytes, 1));
}

TEST_CASE("a version that was made anew after a count stays") {
    TemporaryFolder folder;
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    auto store = open_store(folder / "store");
    CHECK(store->made_count() == 0);
    const auto info = import_ok(*store, folder / "a.img", "raw");
    const std::uint64_t count = store->made_count();
    CHECK(store->made_at(info.digest) == count);
    (void)import_ok(*store, folder / "a.img", "raw");  // what is there already
    CHECK(store->made_at(info.digest) > count);
    CHECK(store->remove(info.digest, count).error().kind == ErrorKind::conflict);
    CHECK(store->list()->size() == 1);
    REQUIRE(store->remove(info.digest, store->made_count()));
    CHECK(store->list()->empty());
    CHECK(store->made_at(info.digest) == 0);

    // One that was there before the store was opened has not been made since.
    (void)import_ok(*store, folder / "a.img", "raw");
    store.reset();
    store = open_store(folder / "store");
    CHECK(store->made_at(info.digest) == 0);
    REQUIRE(store->remove(info.digest, 0));
}

TEST_CASE("collecting takes nothing from imports that run meanwhile") {
    TemporaryFolder folder;
    auto store = open_store(folder / "store");
    std::atomic<bool> done{false};
    std::thread collector([&] {
        while (!done) {
            StoreGarbage went;
            Progress progress;
            (void)store->collect_left_overs(went, progress);
            (void)store->drop_empty_packs(went);
        }
    });
    for (std::uint64_t round = 0; round < 20; ++round) {
        const auto content = random_bytes(24 * kChunkBytes, round);
        write_file(folder / "a.img", content);
        const auto info = import_ok(*store, folder / "a.img", "raw");
        {
            const auto version = *store->open_version(info.digest);
            if (read_version(*version) != content) FAIL_CHECK("round " << round);
        }
        if (round % 3 != 0) REQUIRE(store->remove(info.digest));
    }
    done = true;
    collector.join();
    const auto versions = *store->list();
    CHECK(versions.size() == 7);
    for (const auto& version : versions) {
        Progress progress;
        CHECK(store->verify(version.digest, progress)->empty());
    }
    StoreGarbage went;
    collect_ok(*store, went);
    check_nothing_left(*store);
}

TEST_CASE("a collection that is cancelled leaves the rest to the next") {
    TemporaryFolder folder;
    auto store = open_store(folder / "store");
    write_file(folder / "a.img", random_bytes(4 * kChunkBytes, 1));
    const auto info = import_ok(*store, folder / "a.img", "raw");
    Progress progress;
    progress.cancel = true;
    StoreGarbage went;
    CHECK(store->collect_left_overs(went, progress).error().kind == ErrorKind::cancelled);
    CHECK(store->list()->size() == 1);
    collect_ok(*store, went);
    CHECK(read_version(**store->open_version(info.digest)) == random_bytes(4 * kChunkBytes, 1));
}
