// A chunk that was bad and is mended by a process that is killed before it has synced reads right
// from the page cache. Nobody may take it for right for good, as the power may still go.
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/log.hpp"
#include "target/store/image_store.hpp"
#include "tests/sim/sim_storage.hpp"
#include "tests/unit/random_bytes.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::sim;
using namespace goldlink::store;

namespace {

std::string file_bytes(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::filesystem::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

// A store whose one version has one chunk, which the disk has lost and verify has found.
struct Damaged {
    Random random;
    SimStorage storage{random};
    test::TemporaryFolder folder;
    std::string content;
    std::string index_at_death;
    std::unique_ptr<ImageStore> store;
    std::string digest;

    explicit Damaged(std::uint64_t seed) : random(seed) {
        const auto bytes = test::random_bytes(kChunkBytes, 1);
        content.assign(bytes.begin(), bytes.end());
        write_file(folder / "a.raw", content);
        storage.on_death = [this] { index_at_death = file_bytes(index()); };
        open();
        REQUIRE(mend());
        const auto version = store->open_version(digest);
        REQUIRE(version);
        const ChunkLocation location = (*version)->location(0);
        storage.file((*version)->pack_fd(location))
            ->rot(Version::slot_offset_bytes(location) + 1000);
        Progress progress;
        REQUIRE(store->verify(digest, progress)->size() == 1);
    }

    std::filesystem::path index() const { return folder / "store/index/data.mdb"; }
    void open() {
        store.reset();
        auto opened = ImageStore::open(folder / "store", 0, storage);
        REQUIRE(opened);
        store = std::move(*opened);
    }
    bool mend() {
        Progress progress;
        const auto made = store->import({folder / "a.raw", "raw"}, progress);
        if (made) digest = made->digest;
        return made.has_value();
    }
    // What the killed process had given to the kernel is there, in memory at least.
    void start_after_kill() {
        store.reset();
        write_file(index(), index_at_death);
        storage.calls_until_dead = -1;
        open();
    }
    bool serves_nothing_wrong() {
        const auto version = store->open_version(digest);
        REQUIRE(version);
        const ChunkLocation location = (*version)->location(0);
        if (is_bad(location)) return true;
        std::string read(kChunkBytes, '\0');
        REQUIRE(storage.read((*version)->pack_fd(location),
                             reinterpret_cast<std::uint8_t*>(read.data()), kChunkBytes,
                             Version::slot_offset_bytes(location)) ==
                static_cast<std::int64_t>(kChunkBytes));
        return read == content;
    }
};

}  // namespace

TEST_CASE("a chunk that only memory has right is made durable before it counts as right") {
    log::set_level(spdlog::level::off);
    const bool by_verify = GENERATE(false, true);
    const auto seed = GENERATE(range(1U, 9U));  // decides which sectors a power loss takes
    bool ended = false;
    int deaths = 0;
    for (std::int64_t call = 1; !ended; ++call) {
        Damaged damaged(seed);
        damaged.storage.calls_until_dead = call;
        ended = damaged.mend() && damaged.storage.calls_until_dead > 0;
        if (ended) break;
        ++deaths;
        CAPTURE(by_verify, seed, call);
        damaged.start_after_kill();
        Progress progress;
        if (by_verify)
            REQUIRE(damaged.store->verify(damaged.digest, progress));
        else
            REQUIRE(damaged.store->recheck_bad_chunks(progress));
        damaged.store.reset();
        damaged.storage.lose_power();
        damaged.open();
        CHECK(damaged.serves_nothing_wrong());
    }
    CHECK(deaths > 2);
}
