#include <unistd.h>

#include "store_fixture.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

// Two versions of eight chunks: the second differs from the first in its last two.
struct Room {
    explicit Room(std::uint64_t budget_chunks) {
        auto opened = ImageStore::open(folder / "store", budget_chunks * kChunkBytes);
        REQUIRE(opened);
        store = std::move(*opened);
        auto disk = random_bytes(8 * kChunkBytes, 1);
        write_file(folder / "a.img", disk);
        first = import_ok(*store, folder / "a.img", "raw").digest;
        const auto other = random_bytes(2 * kChunkBytes, 2);
        std::copy(other.begin(), other.end(), disk.end() - 2 * kChunkBytes);
        write_file(folder / "b.img", disk);
        second = import_ok(*store, folder / "b.img", "raw").digest;
    }
    std::vector<PinnedVersion> pin(const std::vector<PinWish>& wishes) {
        REQUIRE(store->pin(wishes, progress));
        return store->pinned();
    }
    // Which chunks are lent at their first read.
    std::vector<std::uint32_t> in_memory(const std::string& digest) {
        const auto version = store->open_version(digest);
        REQUIRE(version);
        std::vector<std::uint32_t> found;
        for (std::uint32_t chunk = 0; chunk < 8; ++chunk)
            if ((*version)->resident((*version)->location(chunk), 512) != nullptr)
                found.push_back(chunk);
        return found;
    }

    TemporaryFolder folder;
    std::unique_ptr<ImageStore> store;
    std::string first, second;
    Progress progress;
};

bool may_not_lock() {
    if (::geteuid() == 0) return false;
    WARN("this user may not lock memory: run the tests as root to see pinned versions");
    return true;
}

}  // namespace

TEST_CASE("pinned versions are in memory whole, and what they share once") {
    if (may_not_lock()) return;
    Room room(16);
    auto report = room.pin({{room.first, {}}, {room.second, {}}});
    REQUIRE(report.size() == 2);
    for (const PinnedVersion& version : report) {
        CHECK(version.wanted_bytes == 8 * kChunkBytes);
        CHECK(version.pinned_bytes == 8 * kChunkBytes);
        CHECK(version.problem.empty());
    }
    CHECK(room.store->pinned_bytes() == 10 * kChunkBytes);
    CHECK(room.progress.done_bytes == 16 * kChunkBytes);
    CHECK(room.in_memory(room.first).size() == 8);
    report = room.pin({{room.second, {}}});
    CHECK(report.size() == 1);
    CHECK(room.store->pinned_bytes() == 8 * kChunkBytes);
    CHECK(room.pin({}).empty());
    CHECK(room.store->pinned_bytes() == 0);
}

TEST_CASE("of a version that does not fit, what boots read comes first, and it says so") {
    if (may_not_lock()) return;
    Room room(3);
    const auto report = room.pin({{room.first, {6, 2, 6, 99}}});
    REQUIRE(report.size() == 1);
    CHECK(report[0].wanted_bytes == 8 * kChunkBytes);
    CHECK(report[0].pinned_bytes == 3 * kChunkBytes);
    CHECK(report[0].problem.find("the locked memory is full") != std::string::npos);
    CHECK(room.in_memory(room.first) == std::vector<std::uint32_t>{0, 2, 6});
}

TEST_CASE("a version that is not there is said to be missing, and keeps none from being pinned") {
    if (may_not_lock()) return;
    Room room(16);
    const std::string unknown(64, 'a');
    auto report = room.pin({{unknown, {}}, {room.first, {}}});
    REQUIRE(report.size() == 2);
    CHECK(report[0].problem.find("no version " + unknown) != std::string::npos);
    CHECK(report[1].pinned_bytes == 8 * kChunkBytes);
}

TEST_CASE("a pinned version can be removed") {
    if (may_not_lock()) return;
    Room room(16);
    room.pin({{room.first, {}}, {room.second, {}}});
    REQUIRE(room.store->remove(room.first));
    CHECK(room.store->pinned_bytes() == 8 * kChunkBytes);
    CHECK(room.in_memory(room.second).size() == 8);
    CHECK(room.pin({{room.second, {}}}).size() == 1);
    CHECK(room.store->pinned_bytes() == 8 * kChunkBytes);
}

TEST_CASE("pinning that is cancelled can be begun again") {
    if (may_not_lock()) return;
    Room room(16);
    room.progress.cancel = true;
    const auto done = room.store->pin({{room.first, {}}}, room.progress);
    REQUIRE_FALSE(done);
    CHECK(done.error().kind == ErrorKind::cancelled);
    CHECK(room.store->pinned_bytes() == 0);
    room.progress.cancel = false;
    CHECK(room.pin({{room.first, {}}})[0].pinned_bytes == 8 * kChunkBytes);
}
