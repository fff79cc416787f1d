// A store that is damaged says so, serves the rest, and is mended by the bytes it lost.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "common/file.hpp"
#include "store_fixture.hpp"
#include "target/store/chunk_check.hpp"
#include "target/store/chunk_store.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;
using Catch::Contains;

namespace {

constexpr std::size_t kChunks = 8;

// A store with one version of kChunks random chunks, in slots 0 to kChunks - 1 of pack 0 or so.
struct Damaged {
    TemporaryFolder folder;
    DiskBytes disk = random_bytes(kChunks * kChunkBytes, 1);
    std::unique_ptr<ImageStore> store;
    std::string digest;

    Damaged() {
        write_file(folder / "a.img", disk);
        reopen();
        digest = import_ok(*store, folder / "a.img", "raw").digest;
    }
    void reopen() {
        store.reset();
        store = open_store(folder / "store");
    }
    std::filesystem::path pack() const { return folder / "store/packs/00000000.pack"; }
    std::filesystem::path manifest() const { return folder / "store/manifests" / digest; }
    std::shared_ptr<const Version> open() {
        auto version = store->open_version(digest);
        if (!version) FAIL(version.error().message);
        return *version;
    }
    void flip_a_bit_of(std::uint64_t chunk) {
        const ChunkLocation location = open()->location(chunk) & ~kBadChunkBit;
        const FileDescriptor fd(::open(pack().c_str(), O_RDWR | O_CLOEXEC));
        const auto at = static_cast<off_t>(Version::slot_offset_bytes(location)) + 77;
        char byte = 0;
        REQUIRE(::pread(fd.get(), &byte, 1, at) == 1);
        byte ^= 0x10;
        REQUIRE(::pwrite(fd.get(), &byte, 1, at) == 1);
    }
    std::vector<VerifyFinding> verify() {
        Progress progress;
        auto findings = store->verify(digest, progress);
        if (!findings) FAIL(findings.error().message);
        return *findings;
    }
    std::vector<std::uint64_t> bad_chunks(const Version& version) {
        std::vector<std::uint64_t> bad;
        for (std::uint64_t i = 0; i < kChunks; ++i)
            if (is_bad(version.location(i))) bad.push_back(i);
        return bad;
    }
    Result<RepairResult> repair(const std::filesystem::path& file) {
        Progress progress;
        return store->repair(digest, {file, "raw"}, progress);
    }
    VersionInfo info() { return store->list()->front(); }
};

using Chunks = std::vector<std::uint64_t>;

Chunks all_chunks() {
    Chunks all(kChunks);
    for (std::size_t i = 0; i < kChunks; ++i) all[i] = i;
    return all;
}

}  // namespace

TEST_CASE("a chunk that verify finds corrupt is bad for who has the version open, and later ones") {
    Damaged damaged;
    const auto open = damaged.open();
    CHECK(damaged.verify().empty());
    damaged.flip_a_bit_of(3);
    const auto findings = damaged.verify();
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].reason == BadReason::corrupt);
    CHECK(findings[0].since > 0);
    CHECK(damaged.bad_chunks(*open) == Chunks{3});
    CHECK(damaged.info().bad_bytes == kChunkBytes);
    CHECK_THAT(damaged.info().damage, Contains("64 KiB") && Contains("1 corrupt chunk"));
    damaged.reopen();
    CHECK(damaged.bad_chunks(*damaged.open()) == Chunks{3});
    CHECK(damaged.verify().front().since == findings[0].since);
}

TEST_CASE("importing the same file again mends what is bad, for who has the version open too") {
    Damaged damaged;
    const auto open = damaged.open();
    damaged.flip_a_bit_of(0);
    damaged.flip_a_bit_of(5);
    const auto revision = damaged.store->damage_revision();
    CHECK(damaged.verify().size() == 2);
    CHECK(damaged.store->damage_revision() != revision);
    CHECK(damaged.bad_chunks(*open) == Chunks{0, 5});
    CHECK(import_ok(*damaged.store, damaged.folder / "a.img", "raw").digest == damaged.digest);
    CHECK(read_version(*open) == damaged.disk);
    CHECK(damaged.verify().empty());
    CHECK(damaged.info().damage.empty());
    CHECK(damaged.store->list()->size() == 1);
    damaged.reopen();
    CHECK(read_version(*damaged.open()) == damaged.disk);
}

TEST_CASE("another image and a commit that contain a bad chunk mend it") {
    Damaged damaged;
    const auto open = damaged.open();
    damaged.flip_a_bit_of(2);
    REQUIRE(damaged.verify().size() == 1);
    SECTION("an image") {
        auto other = random_bytes(3 * kChunkBytes, 9);
        std::copy_n(damaged.disk.begin() + 2 * kChunkBytes, kChunkBytes, other.begin());
        write_file(damaged.folder / "b.img", other);
        const auto made = import_ok(*damaged.store, damaged.folder / "b.img", "raw");
        CHECK(read_version(**damaged.store->open_version(made.digest)) == other);
    }
    SECTION("a commit") {
        Progress progress;
        REQUIRE(damaged.store->commit(
            damaged.digest, {7},
            [&](std::uint64_t, std::uint8_t* chunk) -> Result<> {
                std::copy_n(damaged.disk.begin() + 2 * kChunkBytes, kChunkBytes, chunk);
                return {};
            },
            progress));
    }
    CHECK(read_version(*open) == damaged.disk);
}

TEST_CASE("repair mends what the file has and says how much that was") {
    Damaged damaged;
    const auto open = damaged.open();
    for (const std::uint64_t chunk : Chunks{1, 4, 6}) damaged.flip_a_bit_of(chunk);
    // Chunks 1 and 4 at other places, and chunks nobody asked for.
    auto part = random_bytes(5 * kChunkBytes, 7);
    std::copy_n(damaged.disk.begin() + kChunkBytes, kChunkBytes, part.begin());
    std::copy_n(damaged.disk.begin() + 4 * kChunkBytes, kChunkBytes,
                part.begin() + 3 * kChunkBytes);
    write_file(damaged.folder / "part.img", part);
    const auto before = allocated_bytes(damaged.folder / "store/packs");
    auto repaired = damaged.repair(damaged.folder / "part.img");
    REQUIRE(repaired);
    CHECK(repaired->bad_chunks == 3);
    CHECK(repaired->mended_chunks == 2);
    CHECK(damaged.bad_chunks(*open) == Chunks{6});
    CHECK(allocated_bytes(damaged.folder / "store/packs") == before);
    CHECK(damaged.store->list()->size() == 1);
    repaired = damaged.repair(damaged.folder / "a.img");
    REQUIRE(repaired);
    CHECK(repaired->bad_chunks == 1);
    CHECK(repaired->mended_chunks == 1);
    CHECK(read_version(*open) == damaged.disk);
    CHECK(damaged.repair(damaged.folder / "a.img")->bad_chunks == 0);
    Progress progress;
    CHECK(damaged.store->repair(std::string(64, 'a'), {damaged.folder / "a.img", "raw"}, progress)
              .error()
              .kind == ErrorKind::not_found);
}

TEST_CASE("a store whose pack file is gone opens, names it, and is mended by the image") {
    Damaged damaged;
    damaged.store.reset();
    std::filesystem::rename(damaged.pack(), damaged.folder / "away");
    damaged.reopen();
    const auto open = damaged.open();
    CHECK(damaged.bad_chunks(*open) == all_chunks());
    CHECK_THAT(damaged.info().damage,
               Contains("00000000.pack is missing") && Contains("moved, renamed or deleted"));
    const auto findings = damaged.verify();
    REQUIRE(findings.size() == kChunks);
    CHECK(findings[0].reason == BadReason::file_missing);
    SECTION("another image makes the file anew: what was in it is still bad") {
        write_file(damaged.folder / "b.img", random_bytes(12 * kChunkBytes, 2));
        const auto other = import_ok(*damaged.store, damaged.folder / "b.img", "raw");
        CHECK(damaged.bad_chunks(*open) == all_chunks());
        damaged.reopen();
        CHECK(damaged.bad_chunks(*damaged.open()) == all_chunks());
        CHECK(damaged.verify().size() == kChunks);
        CHECK(read_version(**damaged.store->open_version(other.digest)) ==
              random_bytes(12 * kChunkBytes, 2));
    }
    SECTION("repair") {
        const auto repaired = damaged.repair(damaged.folder / "a.img");
        REQUIRE(repaired);
        CHECK(repaired->mended_chunks == kChunks);
        CHECK(read_version(*open) == damaged.disk);
        damaged.reopen();
        CHECK(read_version(*damaged.open()) == damaged.disk);
    }
    SECTION("the file comes back while we run") {
        std::filesystem::rename(damaged.folder / "away", damaged.pack());
        Progress progress;
        REQUIRE(damaged.store->recheck_bad_chunks(progress));
        CHECK(read_version(*open) == damaged.disk);
    }
    SECTION("the file comes back with one chunk corrupt") {
        std::filesystem::rename(damaged.folder / "away", damaged.pack());
        damaged.flip_a_bit_of(7);
        damaged.reopen();
        const auto again = damaged.open();
        CHECK(damaged.bad_chunks(*again) == all_chunks());
        CHECK(damaged.verify().size() == 1);
        CHECK(damaged.bad_chunks(*again) == Chunks{7});
    }
}

TEST_CASE("a pack that was cut short serves what it has, and no zeros when it grows again") {
    Damaged damaged;
    damaged.store.reset();
    std::filesystem::resize_file(damaged.pack(), 5 * kChunkBytes + 4096);
    damaged.reopen();
    const auto open = damaged.open();
    const auto bad = damaged.bad_chunks(*open);
    CHECK(bad.size() == 3);
    CHECK_THAT(damaged.info().damage, Contains("cut short"));
    write_file(damaged.folder / "b.img", random_bytes(4 * kChunkBytes, 2));
    import_ok(*damaged.store, damaged.folder / "b.img", "raw");
    CHECK(damaged.bad_chunks(*open) == bad);
    damaged.reopen();
    CHECK(damaged.bad_chunks(*damaged.open()) == bad);
    CHECK(damaged.verify().size() == 3);
    CHECK(damaged.repair(damaged.folder / "a.img")->mended_chunks == 3);
    CHECK(read_version(*damaged.open()) == damaged.disk);
}

TEST_CASE("a folder in a pack's place is named, and mended once it is moved away") {
    Damaged damaged;
    damaged.store.reset();
    std::filesystem::remove(damaged.pack());
    std::filesystem::create_directory(damaged.pack());
    damaged.reopen();
    const auto open = damaged.open();
    CHECK(damaged.bad_chunks(*open) == all_chunks());
    CHECK_THAT(damaged.info().damage, Contains("00000000.pack is a folder"));
    CHECK(damaged.verify().front().reason == BadReason::file_refused);
    const auto refused = damaged.repair(damaged.folder / "a.img");
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message, Contains("00000000.pack is a folder"));
    std::filesystem::remove(damaged.pack());
    CHECK(damaged.repair(damaged.folder / "a.img")->mended_chunks == kChunks);
    CHECK(read_version(*open) == damaged.disk);
}

TEST_CASE("a version whose manifest is lost is listed with the reason and made anew") {
    Damaged damaged;
    write_file(damaged.folder / "b.img", random_bytes(2 * kChunkBytes, 3));
    const auto other = import_ok(*damaged.store, damaged.folder / "b.img", "raw");
    const auto how = GENERATE(0, 1, 2);
    if (how == 0) std::filesystem::remove(damaged.manifest());
    if (how == 1) std::filesystem::resize_file(damaged.manifest(), 100);
    if (how == 2) {  // a changed one is found when it is read
        const FileDescriptor fd(::open(damaged.manifest().c_str(), O_RDWR));
        REQUIRE(::pwrite(fd.get(), "x", 1, 100) == 1);
    }
    damaged.reopen();
    CHECK_FALSE(damaged.store->open_version(damaged.digest));
    CHECK(damaged.store->open_version(other.digest));
    const auto list = *damaged.store->list();
    for (const VersionInfo& info : list) {
        CAPTURE(how);
        CHECK(info.damage.empty() == (info.digest == other.digest));
        if (info.digest == damaged.digest)
            CHECK_THAT(info.damage, Contains(damaged.manifest().string()));
    }
    const auto refused = damaged.repair(damaged.folder / "b.img");
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message, Contains("b.img is not what version"));
    SECTION("by repair") {
        const auto repaired = damaged.repair(damaged.folder / "a.img");
        REQUIRE(repaired);
        CHECK(repaired->manifest_mended);
    }
    SECTION("by an import of the same file") {
        import_ok(*damaged.store, damaged.folder / "a.img", "raw");
    }
    CHECK(read_version(*damaged.open()) == damaged.disk);
    const auto mended = *damaged.store->list();
    for (const VersionInfo& info : mended) CHECK(info.damage.empty());
}

TEST_CASE("a bad chunk that no version needs any more is forgotten") {
    Damaged damaged;
    damaged.flip_a_bit_of(1);
    REQUIRE(damaged.verify().size() == 1);
    REQUIRE(damaged.store->remove(damaged.digest));
    const auto again = import_ok(*damaged.store, damaged.folder / "a.img", "raw");
    CHECK(read_version(**damaged.store->open_version(again.digest)) == damaged.disk);
    CHECK(damaged.info().damage.empty());
}

TEST_CASE("a chunk that the disk cannot read is unreadable, or written again from memory") {
    Damaged damaged;
    damaged.store.reset();
    auto opened = ChunkIndex::open(damaged.folder / "store/index");
    REQUIRE(opened);
    auto chunks =
        ChunkStore::open(damaged.folder / "store", std::move(*opened), 0, posix_storage());
    REQUIRE(chunks);
    Hasher hasher;
    const Digest digest = hasher.hash(Bytes(damaged.disk.data(), kChunkBytes));
    int failures = 0;
    ChunkCheck check((*chunks)->index(), (*chunks)->packs(),
                     [&](std::uint64_t) { return failures-- > 0 ? EIO : 0; });
    SECTION("memory has it") {
        failures = 1;
        const auto answer = check.look_at(digest);
        REQUIRE(answer);
        CHECK_FALSE(answer->bad);
    }
    SECTION("the disk refuses it still") {
        failures = 100;
        CHECK(check.look_at(digest)->bad == BadReason::unreadable);
    }
    SECTION("the kernel refuses it") {  // reading one's own memory at 0 is EIO
        chunks->reset();
        std::filesystem::remove(damaged.pack());
        std::filesystem::create_symlink("/proc/self/mem", damaged.pack());
        Packs packs(posix_storage(), damaged.folder / "store/packs", 0);
        auto index = ChunkIndex::open(damaged.folder / "store/index");
        REQUIRE(index);
        ChunkCheck real(**index, packs);
        CHECK(real.look_at(digest)->bad == BadReason::unreadable);
    }
}
