// Seeded simulation of the image store: imports, commits, removals, verifications and clean-ups on
// a disk that fails, fills up, rots, and loses its process or its power at any call, against a
// model. The index is LMDB's own, on a real filesystem: what it has committed is durable, as LMDB
// promises, and of a process that dies it keeps what was committed by then. GOLDLINK_SIM_SEED=n
// runs that seed alone, GOLDLINK_SIM_SEEDS=n that many.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "common/log.hpp"
#include "sim_storage.hpp"
#include "target/store/chunk_index.hpp"
#include "target/store/garbage.hpp"
#include "target/store/image_store.hpp"
#include "target/store/manifest_file.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace goldlink::sim;
using namespace goldlink::store;

namespace {

using Chunk = std::vector<std::uint8_t>;

struct Content {
    std::shared_ptr<const Chunk> bytes;  // null: zeroes
    Digest digest{};
};

struct ModelVersion {
    std::uint64_t size_bytes = 0;
    std::vector<Content> chunks;

    Digest digest() const {
        Manifest manifest;
        manifest.size_bytes = size_bytes;
        for (const Content& chunk : chunks) manifest.chunks.push_back(chunk.digest);
        return manifest.digest();
    }
};

std::string read_bytes(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out << bytes;
    REQUIRE(out.good());
}

std::filesystem::path memory_folder() {
    const std::filesystem::path shared = "/dev/shm";
    std::error_code error;
    return std::filesystem::is_directory(shared, error) ? shared
                                                        : std::filesystem::temp_directory_path();
}

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed)
        : random_(seed), storage_(random_), folder_(memory_folder()) {
        for (unsigned i = 0; i < 12; ++i) pool_.push_back(make_content(kChunkBytes));
        if (random_() % 2 == 0) {
            faults_.write_error = static_cast<unsigned>(random_() % 4);
            faults_.read_error = static_cast<unsigned>(random_() % 3);
            faults_.sync_error = static_cast<unsigned>(random_() % 20);
            faults_.full = static_cast<unsigned>(random_() % 4);
        }
        if (random_() % 2 == 0) faults_.short_io = static_cast<unsigned>(random_() % 30);
        storage_.on_death = [this] { index_at_death_ = read_bytes(index_file()); };
        open();
    }

    void run() {
        const unsigned steps = 10 + static_cast<unsigned>(random_() % 20);
        for (unsigned step = 0; step < steps; ++step) {
            const bool dies = random_() % 3 == 0;
            if (dies) storage_.calls_until_dead = static_cast<std::int64_t>(1 + random_() % 40);
            work();
            if (clean() && random_() % 8 == 0) rot();
            if (random_() % 4 == 0) storage_.write_back_some();
            if (storage_.calls_until_dead == 0)
                end_process(random_() % 2 == 0);
            else if (random_() % 8 == 0)
                end_process(true);
            else if (random_() % 8 == 0)
                reopen();
            storage_.calls_until_dead = -1;
            check();
        }
        reopen();
        check();
        storage_.faults = {};
        StoreGarbage went;
        Progress progress;
        REQUIRE(store_->collect_left_overs(went, progress));
        REQUIRE(store_->drop_empty_packs(went));
        check_nothing_left();
        check();
        check_space();
    }

  private:
    std::filesystem::path root() const { return folder_.path() / "store"; }
    std::filesystem::path index_file() const { return root() / "index" / "data.mdb"; }
    bool died() const { return storage_.calls_until_dead == 0; }
    bool clean() const {
        return faults_.write_error + faults_.read_error + faults_.sync_error + faults_.full == 0;
    }

    Content make_content(std::uint64_t bytes) {
        auto chunk = std::make_shared<Chunk>(kChunkBytes);
        for (std::size_t at = 0; at < bytes; at += 8) {
            const std::uint64_t word = random_();
            std::memcpy(chunk->data() + at, &word, 8);
        }
        const Digest digest = hasher_.hash(*chunk);
        return {std::move(chunk), digest};
    }
    Content pick_content() {
        if (random_() % 5 == 0) return {};
        if (random_() % 4 == 0) return make_content(kChunkBytes);
        return pool_[random_() % pool_.size()];
    }

    void open() {
        storage_.faults = {};
        if (random_() % 4 == 0) {  // an open that is cut short in its middle
            storage_.calls_until_dead = static_cast<std::int64_t>(1 + random_() % 10);
            auto cut = ImageStore::open(root(), 0, storage_);
            const bool dead = died();
            if (!dead) CHECK(cut.has_value());
            if (cut) cut->reset();
            // Before there was an index, none was made after it.
            if (dead && !index_at_death_.empty()) write_bytes(index_file(), index_at_death_);
            storage_.calls_until_dead = -1;
            if (dead && random_() % 2 == 0) storage_.lose_power();
        }
        auto opened = ImageStore::open(root(), 0, storage_);
        if (!opened) FAIL(opened.error().message);
        store_ = std::move(*opened);
        storage_.faults = faults_;
    }

    void reopen() {
        store_.reset();
        if (died()) write_bytes(index_file(), index_at_death_);
        storage_.calls_until_dead = -1;
        open();
    }

    // SIGKILL, or the power goes; in the middle of work when storage is dead already.
    void end_process(bool power) {
        if (!died()) {
            storage_.calls_until_dead = 1;
            std::vector<std::string> names;
            REQUIRE(storage_.list("/", names) < 0);
        }
        store_.reset();
        write_bytes(index_file(), index_at_death_);
        storage_.calls_until_dead = -1;
        if (power) storage_.lose_power();
        open();
        settle_doubts();
    }

    // What was under way when the process ended happened whole or not at all.
    void settle_doubts() {
        const auto listed = store_->list();
        REQUIRE(listed);
        for (const auto& [digest, version] : std::exchange(maybe_, {})) {
            const bool there = std::any_of(listed->begin(), listed->end(),
                                           [&](const auto& info) { return info.digest == digest; });
            if (there)
                versions_[digest] = version;
            else
                versions_.erase(digest);
        }
        forget_rot();
    }

    // A chunk that no version has any more is not in the store.
    void forget_rot() {
        std::erase_if(rotten_, [this](const auto& rot) {
            return std::none_of(versions_.begin(), versions_.end(), [&](const auto& version) {
                return distinct(version.second).contains(rot.first);
            });
        });
    }

    // A byte of some chunk changes on the disk; nobody knows it until it is verified.
    void rot() {
        if (versions_.empty() || died()) return;
        const auto [digest, version] = pick_version();
        const std::int64_t calls = std::exchange(storage_.calls_until_dead, -1);  // it is not ours
        const auto open = store_->open_version(digest);
        storage_.calls_until_dead = calls;
        REQUIRE(open);
        const std::size_t index = random_() % version.chunks.size();
        const Content& content = version.chunks[index];
        if (!content.bytes || rotten_.contains(content.digest)) return;
        const ChunkLocation location = (*open)->location(index);
        storage_.file((*open)->pack_fd(location))
            ->rot(Version::slot_offset_bytes(location) + random_() % kChunkBytes);
        rotten_[content.digest] = Rot::unknown;
    }

    void work() {
        const auto dice = random_() % 100;
        if (dice < 45 || versions_.empty())
            import();
        else if (dice < 70)
            commit();
        else if (dice < 86)
            remove();
        else if (dice < 94)
            verify();
        else
            collect();
    }

    // `stored`: the chunks whose bytes it brought.
    void ended(const ModelVersion& version, const std::set<Digest>& stored,
               const Result<VersionInfo>& made) {
        const std::string digest = to_hex(version.digest());
        if (died()) {
            maybe_[digest] = version;
            return;
        }
        if (made) {
            CHECK(made->digest == digest);
            CHECK(made->size_bytes == version.size_bytes);
            versions_[digest] = version;
            // What is known to be bad was stored anew.
            for (const Digest& chunk : stored)
                if (const auto rot = rotten_.find(chunk);
                    rot != rotten_.end() && rot->second == Rot::known)
                    rotten_.erase(rot);
        } else {
            CHECK(!clean());
            CHECK_FALSE(made.error().message.empty());
        }
    }

    void import() {
        ModelVersion version;
        const std::size_t count = 1 + random_() % 14;
        for (std::size_t i = 0; i < count; ++i) version.chunks.push_back(pick_content());
        // The disk's last chunk may be there in part.
        const std::uint64_t tail = random_() % 2 == 0 ? kChunkBytes : (1 + random_() % 127) * 512;
        if (tail < kChunkBytes) version.chunks.back() = make_content(tail);
        version.size_bytes = (count - 1) * kChunkBytes + tail;
        const auto file = folder_.path() / "import.raw";
        {
            std::ofstream out(file, std::ios::binary | std::ios::trunc);
            const Chunk zeroes(kChunkBytes);
            for (std::size_t i = 0; i < count; ++i) {
                const Chunk& bytes = version.chunks[i].bytes ? *version.chunks[i].bytes : zeroes;
                out.write(reinterpret_cast<const char*>(bytes.data()),
                          static_cast<std::streamsize>(i + 1 < count ? kChunkBytes : tail));
            }
            REQUIRE(out.good());
        }
        Progress progress;
        ended(version, distinct(version), store_->import({file, "raw"}, progress));
    }

    std::pair<std::string, ModelVersion> pick_version() {
        auto at = versions_.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random_() % versions_.size()));
        return *at;
    }

    void commit() {
        const auto [base, base_version] = pick_version();
        ModelVersion version = base_version;
        std::vector<std::uint64_t> changed;
        for (std::size_t i = 0; i < version.chunks.size(); ++i) {
            if (random_() % 3 != 0) continue;
            const bool last = i + 1 == version.chunks.size();
            version.chunks[i] =
                last ? make_content(version.size_bytes - i * kChunkBytes) : pick_content();
            changed.push_back(i);
        }
        Progress progress;
        std::set<Digest> stored;
        for (const std::uint64_t index : changed)
            if (version.chunks[index].bytes) stored.insert(version.chunks[index].digest);
        ended(version, stored,
              store_->commit(
                  base, changed,
                  [&](std::uint64_t offset, std::uint8_t* chunk) -> Result<> {
                      const Content& content = version.chunks[offset / kChunkBytes];
                      if (content.bytes) std::memcpy(chunk, content.bytes->data(), kChunkBytes);
                      return {};
                  },
                  progress));
    }

    void remove() {
        const auto [digest, version] = pick_version();
        const auto removed = store_->remove(digest);
        if (died())
            maybe_[digest] = version;
        else if (removed)
            versions_.erase(digest);
        else
            CHECK(!clean());
        if (removed) forget_rot();
    }

    // A clean-up, with a version that nobody wants or without.
    void collect() {
        std::vector<std::string> leaving;
        if (random_() % 2 == 0) leaving.push_back(pick_version().first);
        const std::uint64_t made_until = store_->made_count();
        const auto garbage = store_->garbage(leaving);
        if (garbage && !leaving.empty() && garbage->versions.front()) {
            std::set<Digest> others;
            for (const auto& [digest, version] : versions_)
                if (digest != leaving.front()) others.merge(distinct(version));
            const auto own = distinct(versions_.at(leaving.front()));
            CHECK(*garbage->versions.front() / kChunkBytes ==
                  static_cast<std::uint64_t>(
                      std::count_if(own.begin(), own.end(),
                                    [&](const Digest& chunk) { return !others.contains(chunk); })));
        }
        StoreGarbage went;
        Progress progress;
        const auto collected = store_->collect_left_overs(went, progress);
        if (!collected) CHECK((died() || !clean()));
        for (const std::string& digest : leaving) {
            const auto removed = store_->remove(digest, made_until);
            if (died())
                maybe_[digest] = versions_.at(digest);
            else if (removed)
                versions_.erase(digest);
            else
                CHECK(!clean());
            if (removed) forget_rot();
        }
        const auto dropped = store_->drop_empty_packs(went);
        if (!dropped) CHECK((died() || !clean()));
        if (!died() && clean()) check_nothing_left();
    }

    void check_nothing_left() {
        const std::int64_t calls = std::exchange(storage_.calls_until_dead, -1);  // these are ours
        const auto garbage = store_->garbage({});
        storage_.calls_until_dead = calls;
        if (!garbage) FAIL(garbage.error().message);
        CHECK(garbage->manifests.empty());
        CHECK(garbage->orphan_chunks == 0);
        CHECK(garbage->free_slot_bytes == 0);
        CHECK(garbage->packs.empty());
    }

    void verify() {
        const auto [digest, version] = pick_version();
        Progress progress;
        const auto findings = store_->verify(digest, progress);
        if (died() || faults_.read_error > 0) return;  // what cannot be read is found to be bad
        REQUIRE(findings);
        std::set<std::string> found;
        for (const VerifyFinding& finding : *findings) found.insert(finding.chunk_digest);
        std::size_t expected = 0;
        for (const Digest& chunk : distinct(version)) {
            const auto rot = rotten_.find(chunk);
            if (rot == rotten_.end()) continue;
            if (found.contains(to_hex(chunk))) {
                rot->second = Rot::known;
                ++expected;
            } else {
                rotten_.erase(rot);  // mended before this said so; check() looks
            }
        }
        CHECK(found.size() == expected);
    }

    // Every version that should be there is, reads as it should, and is counted right.
    void check() {
        storage_.faults = {};
        Progress progress;
        REQUIRE(store_->recheck_bad_chunks(progress));  // what could not be read was taken for bad
        const auto listed = store_->list();
        REQUIRE(listed);
        REQUIRE(listed->size() == versions_.size());
        std::map<Digest, unsigned> users;
        for (const auto& [digest, version] : versions_)
            for (const Digest& chunk : distinct(version)) ++users[chunk];
        for (const VersionInfo& info : *listed) {
            INFO("version " << info.digest);
            const auto found = versions_.find(info.digest);
            REQUIRE(found != versions_.end());
            const auto chunks = distinct(found->second);
            CHECK(info.unique_bytes / kChunkBytes ==
                  static_cast<std::uint64_t>(
                      std::count_if(chunks.begin(), chunks.end(),
                                    [&](const Digest& chunk) { return users[chunk] == 1; })));
            check_content(found->first, found->second);
        }
        storage_.faults = faults_;
    }

    static std::set<Digest> distinct(const ModelVersion& version) {
        std::set<Digest> all;
        for (const Content& chunk : version.chunks)
            if (chunk.bytes) all.insert(chunk.digest);
        return all;
    }

    void check_content(const std::string& digest, const ModelVersion& expected) {
        const auto version = store_->open_version(digest);
        if (!version) FAIL(version.error().message);
        CHECK((*version)->size_bytes() == expected.size_bytes);
        Chunk read(kChunkBytes);
        for (std::size_t i = 0; i < expected.chunks.size(); ++i) {
            const ChunkLocation location = (*version)->location(i);
            const Content& content = expected.chunks[i];
            REQUIRE((location == kZeroChunk) == !content.bytes);
            if (!content.bytes) continue;
            const auto rot = rotten_.find(content.digest);
            if (rot != rotten_.end() && (rot->second == Rot::unknown || is_bad(location))) continue;
            if (rot != rotten_.end()) rotten_.erase(rot);  // mended as its process ended
            REQUIRE(is_stored(location));
            const int fd = (*version)->pack_fd(location);
            REQUIRE(
                storage_.read(fd, read.data(), kChunkBytes, Version::slot_offset_bytes(location)) ==
                static_cast<std::int64_t>(kChunkBytes));
            if (read != *content.bytes) FAIL("chunk " << i << " of " << digest << " is wrong");
        }
    }

    // Nothing is left of what failed or was removed: each slot is a chunk's that some version
    // needs, or free.
    void check_space() {
        store_.reset();
        auto index = ChunkIndex::open(root() / "index");
        REQUIRE(index);
        {
            const auto txn = (*index)->begin_read();
            REQUIRE(txn);
            std::set<std::uint64_t> slots;
            std::set<Digest> chunks, needed;
            REQUIRE(txn->for_each_chunk([&](const Digest& digest, const ChunkRecord& record) {
                chunks.insert(digest);
                CHECK(slots.insert(record.slot).second);
                return Result<>();
            }));
            for (const auto& [digest, version] : versions_) needed.merge(distinct(version));
            CHECK(chunks == needed);
            REQUIRE(
                txn->for_each_free([&](std::uint64_t slot) { CHECK(slots.insert(slot).second); }));
            const auto next = txn->meta("next_slot");
            REQUIRE(next);
            CHECK(slots.size() == *next);
            CHECK((slots.empty() || *slots.rbegin() < *next));
            CHECK(txn->meta("unclean").value_or(1) == 0);
        }
        std::vector<std::string> manifests;
        REQUIRE(storage_.list(root() / "manifests", manifests) == 0);
        CHECK(manifests.size() == versions_.size());
    }

    Random random_;
    SimStorage storage_;
    goldlink::test::TemporaryFolder folder_;
    Hasher hasher_;
    Faults faults_;
    std::vector<Content> pool_;
    std::unique_ptr<ImageStore> store_;
    std::map<std::string, ModelVersion> versions_;
    std::map<std::string, ModelVersion> maybe_;  // made or removed as the process ended
    enum class Rot { unknown, known };
    std::map<Digest, Rot> rotten_;
    std::string index_at_death_;
};

}  // namespace

TEST_CASE("space that could not be given back when a version went is given back later") {
    log::set_level(spdlog::level::off);
    Random random(1);
    SimStorage storage(random);
    goldlink::test::TemporaryFolder folder(memory_folder());
    auto store = ImageStore::open(folder.path() / "store", 0, storage);
    REQUIRE(store);
    const auto import = [&](std::size_t chunks) {
        std::string bytes(chunks * kChunkBytes, '\0');
        for (char& byte : bytes) byte = static_cast<char>(random());
        write_bytes(folder.path() / "a.raw", bytes);
        Progress progress;
        const auto made = (*store)->import({folder.path() / "a.raw", "raw"}, progress);
        REQUIRE(made);
        return made->digest;
    };
    const std::string gone = import(20);
    const std::string kept = import(3);
    storage.faults.write_error = 100;  // of punching too
    const auto removed = (*store)->remove(gone);
    CHECK((removed || (*store)->list()->size() == 1));
    Progress progress;
    StoreGarbage none;
    CHECK((*store)->garbage({})->free_slot_bytes == 20 * kChunkBytes);
    CHECK_FALSE((*store)->collect_left_overs(none, progress));
    CHECK(none.free_slot_bytes == 0);
    storage.faults = {};
    StoreGarbage went;
    REQUIRE((*store)->collect_left_overs(went, progress));
    CHECK(went.free_slot_bytes == 20 * kChunkBytes);
    CHECK((*store)->garbage({})->free_slot_bytes == 0);
    CHECK((*store)->verify(kept, progress)->empty());
}

TEST_CASE("the image store keeps its versions on a disk that fails, fills up and loses power") {
    log::set_level(spdlog::level::off);  // what goes wrong here is meant to
    for (const std::uint64_t seed : seeds(200)) {
        INFO("GOLDLINK_SIM_SEED=" << seed);
        Simulation(seed).run();
    }
}
