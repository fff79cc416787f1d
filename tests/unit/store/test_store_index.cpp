// An index that is missing, damaged, another's or older is refused by name, and nothing of the
// store is changed; what can be served is.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <random>

#include "store_fixture.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/garbage.hpp"
#include "target/store/index_check.hpp"
#include "target/store/space_account.hpp"
#include "target/store/standby_store.hpp"
#include "target/store/store_rebuild.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace fs = std::filesystem;

namespace {

struct Room {
    TemporaryFolder folder;
    fs::path root = folder / "store";
    fs::path index = root / "index";
    fs::path data = index / "data.mdb";
    DiskBytes disk = sample_disk(20 * kChunkBytes, 7);
    std::string digest;

    Room() {
        write_file(folder / "a.img", disk);
        auto store = open_store(root);
        digest = import_ok(*store, folder / "a.img", "raw").digest;
    }
    std::string import_another(std::uint64_t seed) {
        write_file(folder / "b.img", sample_disk(12 * kChunkBytes, seed));
        auto store = open_store(root);
        return import_ok(*store, folder / "b.img", "raw").digest;
    }
    // Name -> content of all that is not the index's own.
    std::map<std::string, DiskBytes> files() const {
        std::map<std::string, DiskBytes> found;
        for (const char* const part : {"packs", "manifests"})
            for (const auto& entry : fs::directory_iterator(root / part))
                found[entry.path().string()] = read_whole(entry.path());
        return found;
    }
};

Error open_error(const fs::path& root) {
    auto store = ImageStore::open(root);
    REQUIRE_FALSE(store);
    return store.error();
}

void overwrite(const fs::path& file, std::uint64_t offset, const DiskBytes& bytes) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(bytes.size()));
    ::close(fd);
}

// The page of the tree of tables, by the newer of the two metas (LMDB 0.9).
std::uint64_t root_page_of(const DiskBytes& file) {
    const auto word = [&file](std::size_t at) { return load_le64(file.data() + at); };
    constexpr std::size_t kPage = 4096, kHeader = 16, kTables = 24 + 48, kRoot = 40, kTxn = 128;
    const std::size_t meta = word(kHeader + kTxn) < word(kPage + kHeader + kTxn) ? kPage : 0;
    return word(meta + kHeader + kTables + kRoot);
}

}  // namespace

TEST_CASE("a store whose index is gone or damaged is refused, unchanged, and rebuilt") {
    Room room;
    const struct {
        const char* name;
        std::function<void()> harm;
    } harms[] = {
        {"folder missing", [&] { fs::remove_all(room.index); }},
        {"folder empty",
         [&] {
             fs::remove_all(room.index);
             fs::create_directory(room.index);
         }},
        {"file empty", [&] { fs::resize_file(room.data, 0); }},
        {"cut in its first page", [&] { fs::resize_file(room.data, 100); }},
        {"cut after its metas", [&] { fs::resize_file(room.data, 2 * 4096); }},
        {"first page garbled", [&] { overwrite(room.data, 0, random_bytes(4096, 3)); }},
        {"tree garbled",
         [&] {
             overwrite(room.data, root_page_of(read_whole(room.data)) * 4096,
                       random_bytes(4096, 4));
         }},
        {"tree zeroed",
         [&] {
             overwrite(room.data, root_page_of(read_whole(room.data)) * 4096, DiskBytes(4096));
         }},
        {"made anew, empty",
         [&] {
             fs::remove_all(room.index);
             REQUIRE(ChunkIndex::open(room.index));
         }},
        {"another store's",
         [&] {
             Room other;
             fs::remove_all(room.index);
             fs::copy(other.index, room.index);
         }},
    };
    for (const auto& harm : harms) {
        INFO(harm.name);
        const auto before = room.files();
        harm.harm();
        const Error error = open_error(room.root);
        INFO(error.message);
        CHECK(error.message.find(room.index.string()) != std::string::npos);
        CHECK(error.message.find("goldlink store rebuild") != std::string::npos);
        CHECK(room.files() == before);

        const auto report = rebuild_index(room.root, false, nullptr);
        if (!report) FAIL(report.error().message);
        CHECK(report->versions == 1);
        CHECK(report->damaged_versions.empty());
        CHECK(report->unnamed_chunks == 0);
        CHECK(room.files() == before);
        auto store = open_store(room.root);
        CHECK(store->problem().empty());
        CHECK(read_version(**store->open_version(room.digest)) == room.disk);
        Progress progress;
        CHECK(store->verify(room.digest, progress)->empty());
    }
}

TEST_CASE("an index that is older than the store serves what it knows, and nothing is written") {
    Room room;
    const auto old = room.folder / "old";
    fs::copy(room.index, old);
    const std::string later = room.import_another(11);
    fs::remove_all(room.index);
    fs::copy(old, room.index);
    const auto before = room.files();
    {
        auto store = open_store(room.root);
        CHECK(store->problem().find(later) != std::string::npos);
        CHECK(store->problem().find("goldlink store rebuild") != std::string::npos);
        CHECK(read_version(**store->open_version(room.digest)) == room.disk);
        write_file(room.folder / "c.img", sample_disk(9 * kChunkBytes, 12));
        CHECK(import_error(*store, room.folder / "c.img", "raw").kind == ErrorKind::corrupt);
        CHECK_FALSE(store->make_blank(kChunkBytes));
        CHECK_FALSE(store->remove(room.digest));
        StoreGarbage went;
        Progress progress;
        CHECK_FALSE(store->collect_left_overs(went, progress));
        CHECK(store->drop_empty_packs(went));
    }
    CHECK(room.files() == before);
    REQUIRE(rebuild_index(room.root, false, nullptr));
    auto store = open_store(room.root);
    CHECK(read_version(**store->open_version(later)) == sample_disk(12 * kChunkBytes, 11));
    CHECK(read_version(**store->open_version(room.digest)) == room.disk);
}

TEST_CASE(
    "a store of before its index knew of manifests moves aside what the index does not name") {
    Room room;
    {
        auto index = ChunkIndex::open(room.index);
        auto txn = (*index)->begin_write();
        REQUIRE(txn->put_meta(ChunkIndex::kKnowsPending, 0));
        REQUIRE(txn->put_meta(ChunkIndex::kStoreId, 0));
        REQUIRE(txn->commit());
    }
    fs::remove(room.root / "id");
    const std::string left(64, 'd');
    write_file(room.root / "manifests" / left, DiskBytes(100));
    auto store = open_store(room.root);
    CHECK(store->problem().empty());
    CHECK_FALSE(fs::exists(room.root / "manifests" / left));
    CHECK(fs::exists(room.root / "manifests.set-aside" / left));
    CHECK(fs::exists(room.root / "id"));
    CHECK(read_version(**store->open_version(room.digest)) == room.disk);
}

TEST_CASE("a format that is newer, or missing beside a store, is refused by name") {
    Room room;
    const auto before = room.files();
    write_file(room.root / "format", {'g', 'o', 'l', 'd', '9', '\n'});
    CHECK(open_error(room.root).message.find("start the newer program") != std::string::npos);
    CHECK(rebuild_index(room.root, false, nullptr).error().message.find("newer program") !=
          std::string::npos);
    fs::remove(room.root / "format");
    fs::remove_all(room.index);
    CHECK(open_error(room.root).message.find("is missing beside an image store") !=
          std::string::npos);
    CHECK_FALSE(fs::exists(room.root / "format"));
    CHECK(room.files() == before);
}

TEST_CASE("a byte of the index that is wrong is refused or harmless, never the process's end") {
    Room room;
    room.import_another(21);
    const DiskBytes sound = read_whole(room.data);
    REQUIRE(check_index_file(room.data));
    std::mt19937_64 random(5);
    unsigned refused = 0;
    for (int i = 0; i < 300; ++i) {
        DiskBytes harmed = sound;
        const std::size_t page = random() % (sound.size() / 4096);
        for (std::uint64_t n = 1 + random() % 8; n > 0; --n) {
            // Most of it in headers, where it matters.
            const std::size_t at = random() % 2 == 0 ? random() % 32 : random() % 4096;
            harmed[page * 4096 + at] = static_cast<std::uint8_t>(random());
        }
        if (random() % 8 == 0) harmed.resize(random() % harmed.size());
        write_file(room.data, harmed);
        INFO(i);
        if (!check_index_file(room.data)) {
            ++refused;
            continue;
        }
        auto index = ChunkIndex::open(room.index);
        if (!index) continue;
        const auto txn = (*index)->begin_read();
        REQUIRE(txn);
        (void)txn->for_each_chunk([](const Digest&, const ChunkRecord&) { return Result<>(); });
        (void)txn->for_each_free([](std::uint64_t) {});
        (void)txn->versions();
    }
    CHECK(refused > 100);
}

TEST_CASE("an index that nobody touched since it was closed is not gone over again") {
    Room room;
    CHECK(index_is_as_closed(room.data));
    overwrite(room.data, 0, {read_whole(room.data)[0]});  // the same byte
    CHECK_FALSE(index_is_as_closed(room.data));
    { auto store = open_store(room.root); }
    CHECK(index_is_as_closed(room.data));
}

TEST_CASE("a store that is not usable yet refuses with the reason, and is used when it can be") {
    Room room;
    const auto lost = room.folder / "lost";
    fs::rename(room.index, lost);
    SpaceAccount space(0);
    StandbyStore store(room.root, 0, space);
    CHECK_FALSE(store.try_open());
    CHECK_FALSE(store.usable());
    CHECK(store.problem().find("is missing") != std::string::npos);
    const auto version = store.open_version(room.digest);
    REQUIRE_FALSE(version);
    CHECK(version.error().kind == ErrorKind::unavailable);
    CHECK(version.error().message == store.problem());
    CHECK_FALSE(store.list());
    fs::rename(lost, room.index);
    CHECK(store.try_open());
    CHECK(store.problem().empty());
    CHECK(read_version(**store.open_version(room.digest)) == room.disk);
}
