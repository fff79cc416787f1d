#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "common/file.hpp"
#include "store_fixture.hpp"
#include "target/store/resident_chunks.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

constexpr std::uint32_t kWhole = kChunkBytes;

// A pack of `slots` chunks of random bytes, mapped. `memory` is null where the system does not let
// an unprivileged process lock memory; as root it must.
struct Pack {
    explicit Pack(std::size_t slots, std::uint64_t budget_chunks)
        : content(random_bytes(slots * kChunkBytes, 5)),
          resident(std::make_shared<ResidentChunks>(budget_chunks * kChunkBytes)) {
        write_file(folder / "pack", content);
        file = FileDescriptor(::open((folder / "pack").c_str(), O_RDWR | O_CLOEXEC));
        REQUIRE(file);
        memory = resident->map(file.get());
        if (::geteuid() == 0) REQUIRE(memory != nullptr);
    }

    // Reads a chunk as often as it takes to be asked for, and lets the thread bring it in.
    const std::uint8_t* warm(std::uint32_t slot) {
        memory->use(slot, kWhole);
        memory->use(slot, kWhole);
        resident->settle();
        return memory->use(slot, kWhole);
    }
    bool holds(const std::uint8_t* found, std::uint32_t slot) const {
        return std::memcmp(found, content.data() + slot * kChunkBytes, kChunkBytes) == 0;
    }

    TemporaryFolder folder;
    DiskBytes content;
    std::shared_ptr<ResidentChunks> resident;
    FileDescriptor file;
    std::unique_ptr<PackMemory> memory;
};

bool locking_is_refused(const Pack& pack) {
    if (pack.memory) return false;
    WARN("this user may not lock memory: run the tests as root to see resident chunks");
    return true;
}

}  // namespace

TEST_CASE("a chunk that is read more than once over is found in memory") {
    Pack pack(4, 4);
    if (locking_is_refused(pack)) return;
    CHECK(pack.memory->use(2, kWhole) == nullptr);
    pack.resident->settle();
    CHECK(pack.resident->resident_bytes() == 0);
    const std::uint8_t* found = pack.warm(2);
    REQUIRE(found != nullptr);
    CHECK(pack.holds(found, 2));
    CHECK(pack.resident->resident_bytes() == kChunkBytes);
    CHECK(pack.memory->use(1, 4096) == nullptr);
}

TEST_CASE("small reads of a chunk add up") {
    Pack pack(1, 1);
    if (locking_is_refused(pack)) return;
    for (unsigned i = 0; i < ResidentChunks::kHeatUnits; ++i)
        CHECK(pack.memory->use(0, 512) == nullptr);
    pack.resident->settle();
    CHECK(pack.memory->use(0, 512) != nullptr);
}

TEST_CASE("over budget the chunk that nobody reads makes room") {
    Pack pack(4, 2);
    if (locking_is_refused(pack)) return;
    REQUIRE(pack.warm(0) != nullptr);
    REQUIRE(pack.warm(1) != nullptr);
    // Both were read since the hand passed: the newcomer waits, and the hand has now passed.
    CHECK(pack.warm(2) == nullptr);
    REQUIRE(pack.memory->use(0, kWhole) != nullptr);
    const std::uint8_t* found = pack.warm(2);
    REQUIRE(found != nullptr);
    CHECK(pack.holds(found, 2));
    CHECK(pack.memory->use(0, kWhole) != nullptr);
    CHECK(pack.memory->use(1, kWhole) == nullptr);
    CHECK(pack.resident->resident_bytes() == 2 * kChunkBytes);
}

TEST_CASE("a slot with new contents is read anew") {
    Pack pack(4, 4);
    if (locking_is_refused(pack)) return;
    REQUIRE(pack.warm(3) != nullptr);
    pack.resident->forget(*pack.memory, 2, 2);
    CHECK(pack.memory->use(3, 4096) == nullptr);
    CHECK(pack.resident->resident_bytes() == 0);
    const auto other = random_bytes(kChunkBytes, 6);
    std::copy(other.begin(), other.end(), pack.content.begin() + 3 * kChunkBytes);
    REQUIRE(::pwrite(pack.file.get(), other.data(), other.size(), 3 * kChunkBytes) ==
            static_cast<ssize_t>(other.size()));
    const std::uint8_t* found = pack.warm(3);
    REQUIRE(found != nullptr);
    CHECK(pack.holds(found, 3));
}

TEST_CASE("a pinned chunk stays, whoever wants its room, until it is unpinned") {
    Pack pack(5, 2);
    if (locking_is_refused(pack)) return;
    REQUIRE(pack.warm(0) != nullptr);
    REQUIRE(pack.resident->pin(*pack.memory, 0));  // one that is there already
    REQUIRE(pack.warm(1) != nullptr);
    CHECK(pack.resident->pin(*pack.memory, 2));  // makes room, though 1 was read just now
    CHECK(pack.resident->pin(*pack.memory, 2));
    CHECK(pack.resident->pinned_bytes() == 2 * kChunkBytes);
    CHECK(pack.resident->resident_bytes() == 2 * kChunkBytes);
    CHECK(pack.memory->use(1, kWhole) == nullptr);
    CHECK_FALSE(pack.resident->pin(*pack.memory, 3));
    for (int round = 0; round < 3; ++round) CHECK(pack.warm(4) == nullptr);
    for (const std::uint32_t slot : {0u, 2u}) {
        const std::uint8_t* found = pack.memory->use(slot, 4096);
        REQUIRE(found != nullptr);
        CHECK(pack.holds(found, slot));
    }
    pack.resident->unpin(*pack.memory, 0);
    pack.resident->unpin(*pack.memory, 0);
    CHECK(pack.resident->pinned_bytes() == kChunkBytes);
    REQUIRE(pack.memory->use(0, 4096) != nullptr);  // it leaves when others want its room
    for (int round = 0; round < 3 && pack.warm(4) == nullptr; ++round) continue;
    CHECK(pack.memory->use(4, 4096) != nullptr);
    CHECK(pack.memory->use(0, 4096) == nullptr);
    CHECK(pack.memory->use(2, 4096) != nullptr);
}

TEST_CASE("a pinned slot with new contents, or whose pack is closed, is pinned no more") {
    Pack pack(4, 4);
    if (locking_is_refused(pack)) return;
    for (std::uint32_t slot = 0; slot < 3; ++slot) REQUIRE(pack.resident->pin(*pack.memory, slot));
    pack.resident->forget(*pack.memory, 1, 1);
    CHECK(pack.memory->use(1, 4096) == nullptr);
    CHECK(pack.resident->pinned_bytes() == 2 * kChunkBytes);
    CHECK(pack.resident->resident_bytes() == 2 * kChunkBytes);
    CHECK_FALSE(pack.resident->pin(*pack.memory, 9));  // past the end of the pack
    pack.memory.reset();
    CHECK(pack.resident->pinned_bytes() == 0);
    CHECK(pack.resident->resident_bytes() == 0);
}

TEST_CASE("a slot past the end of its pack is never lent") {
    Pack pack(1, 4);
    if (locking_is_refused(pack)) return;
    CHECK(pack.warm(7) == nullptr);
    CHECK(pack.warm(7) == nullptr);
    CHECK(pack.resident->resident_bytes() == 0);
}

TEST_CASE("a closed pack gives its memory back") {
    Pack pack(2, 2);
    if (locking_is_refused(pack)) return;
    REQUIRE(pack.warm(0) != nullptr);
    pack.memory.reset();
    CHECK(pack.resident->resident_bytes() == 0);
}

TEST_CASE("without a budget nothing is mapped") {
    Pack pack(1, 1);
    CHECK(std::make_shared<ResidentChunks>(0)->map(pack.file.get()) == nullptr);
}

TEST_CASE("a version lends the chunks it is read for, until it is removed") {
    TemporaryFolder folder;
    const auto disk = random_bytes(2 * kChunkBytes, 9);
    write_file(folder / "a.img", disk);
    auto opened = ImageStore::open(folder / "store", 8 * kChunkBytes);
    REQUIRE(opened);
    auto& store = **opened;
    const VersionInfo info = import_ok(store, folder / "a.img", "raw");
    auto version = *store.open_version(info.digest);
    const std::uint8_t* found = nullptr;
    const auto read_until_lent = [&] {
        for (int i = 0; i < 10'000 && found == nullptr; ++i) {
            found = version->resident(version->location(1), kWhole);
            if (found == nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    };
    read_until_lent();
    if (found == nullptr && ::geteuid() != 0) {
        WARN("this user may not lock memory");
        return;
    }
    REQUIRE(found != nullptr);
    CHECK(std::memcmp(found, disk.data() + kChunkBytes, kChunkBytes) == 0);
    CHECK(store.resident_bytes() == kChunkBytes);
    version.reset();
    REQUIRE(store.remove(info.digest));
    CHECK(store.resident_bytes() == 0);
}
