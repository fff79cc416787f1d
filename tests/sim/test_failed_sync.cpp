// Syncs that fail: the kernel takes the pages for clean, whoever heard of it. What a later flush
// says is durable must be so all the same, and an owner is told.
#include <catch2/catch.hpp>

#include "common/log.hpp"
#include "target/disk/overlay_disk.hpp"
#include "tests/sim/sim_version.hpp"

using namespace goldlink;
using namespace goldlink::sim;
using namespace goldlink::disk;

namespace {

constexpr std::size_t kBlock = 4096;

struct Room {
    Random random{7};
    SimStorage storage{random};
    SimRing ring{storage, random};
    LinkDiskOptions options;
    std::unique_ptr<LinkDisk> disk;

    Room() {
        options.version =
            std::make_shared<SimVersion>(storage, std::vector<std::uint8_t>(64 * kBlock));
        options.policy = Policy::keep;
        options.folder = "/overlay";
        options.reserve_bytes = 0;
        open();
    }
    ~Room() { disk->close(); }

    void open() {
        auto opened = open_link_disk(options, ring, storage, {});
        REQUIRE(opened);
        disk = std::move(*opened);
    }
    void begin(Request& request) {
        request.complete = [](Request&) noexcept {};
        static_cast<void>(disk->submit(request));
    }
    Outcome perform(Operation operation, std::vector<std::uint8_t>& data, std::uint64_t block) {
        Request request;
        request.operation = operation;
        request.offset_bytes = block * kBlock;
        request.data = data.data();
        request.length_bytes = operation == Operation::flush ? 0 : data.size();
        begin(request);
        while (ring.in_flight() > 0) ring.complete_one();
        return request.outcome;
    }
    // Nothing of a killed process may run any more, so its disk is kept as it was.
    void die() {
        static auto* const killed = new std::vector<std::unique_ptr<LinkDisk>>;
        killed->push_back(std::move(disk));
    }
    // SIGKILL while a flush runs whose next sync fails.
    void die_in_flush(unsigned syncs_done) {
        auto& flush = *lost_.emplace_back(std::make_unique<Request>());
        flush.operation = Operation::flush;
        begin(flush);
        for (unsigned i = 0; i < syncs_done; ++i) ring.complete_one();
        REQUIRE(ring.in_flight() == 1);
        storage.faults.sync_error = 100;
        ring.abandon_done();
        storage.faults.sync_error = 0;
        die();
        open();
    }

  private:
    std::vector<std::unique_ptr<Request>> lost_;
};

}  // namespace

TEST_CASE("a failed sync that nobody heard of does not make a later flush untrue") {
    log::set_level(spdlog::level::off);
    const unsigned syncs_done = GENERATE(0u, 1u);  // it is that of the slots, or of the journal
    Room room;
    std::vector<std::uint8_t> first(kBlock, 0x11), second(kBlock, 0x22), read(kBlock);
    REQUIRE(room.perform(Operation::write, first, 3) == Outcome::ok);
    room.die_in_flush(syncs_done);
    REQUIRE(room.perform(Operation::write, second, 5) == Outcome::ok);
    REQUIRE(room.perform(Operation::flush, read, 0) == Outcome::ok);
    room.die();
    room.storage.lose_power();
    room.open();
    REQUIRE(room.perform(Operation::read, read, 3) == Outcome::ok);
    CHECK(read == first);
    REQUIRE(room.perform(Operation::read, read, 5) == Outcome::ok);
    CHECK(read == second);
}

TEST_CASE("a disk whose storage failed says so, takes no write, and can be opened again") {
    Room room;
    int told = 0;
    room.disk->on_storage_failed = [&told] { ++told; };
    std::vector<std::uint8_t> kept(kBlock, 0x11), lost(kBlock, 0x22), read(kBlock);
    REQUIRE(room.perform(Operation::write, kept, 3) == Outcome::ok);
    REQUIRE(room.perform(Operation::flush, read, 0) == Outcome::ok);
    CHECK_FALSE(room.disk->usage().storage_failed);
    REQUIRE(room.perform(Operation::write, lost, 5) == Outcome::ok);
    room.storage.faults.sync_error = 100;
    CHECK(room.perform(Operation::flush, read, 0) == Outcome::write_failed);
    room.storage.faults.sync_error = 0;
    CHECK(told == 1);
    CHECK(room.disk->usage().storage_failed);
    CHECK(room.perform(Operation::write, lost, 6) == Outcome::write_failed);
    CHECK(room.perform(Operation::flush, read, 0) == Outcome::write_failed);
    CHECK(told == 1);
    REQUIRE(room.perform(Operation::read, read, 3) == Outcome::ok);
    CHECK(read == kept);
    room.disk->close();
    room.open();
    CHECK_FALSE(room.disk->usage().storage_failed);
    REQUIRE(room.perform(Operation::read, read, 3) == Outcome::ok);
    CHECK(read == kept);
    REQUIRE(room.perform(Operation::write, lost, 6) == Outcome::ok);
    REQUIRE(room.perform(Operation::flush, read, 0) == Outcome::ok);
}
