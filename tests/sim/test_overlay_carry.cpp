// An overlay is carried over another version, and the process is killed, or the power goes, at any
// step of it: the old overlay stays whole whatever happens, and once the carrying has ended the new
// one holds what was written, over the new version, and nothing else of the old.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "common/log.hpp"
#include "target/disk/disk_snapshot.hpp"
#include "target/disk/overlay_disk.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/sim/sim_version.hpp"

using namespace goldlink;
using namespace goldlink::sim;
using namespace goldlink::disk;

namespace {

constexpr std::size_t kBlock = 4096;
using Content = std::vector<std::uint8_t>;

class Carrying {
  public:
    explicit Carrying(std::uint64_t seed) : random_(seed) {
        base_ = random_disk(30 + random_() % 200);
        view_ = base_;
        next_ = base_;
        if (random_() % 2 == 0) next_.resize(next_.size() + random_() % 40 * kBlock);
        for (std::size_t at = 0; at < next_.size(); at += kBlock)
            if (random_() % 4 == 0) fill(next_, at, kBlock);
        old_.version = std::make_shared<SimVersion>(storage_, base_);
        old_.policy = random_() % 2 == 0 ? Policy::keep : Policy::super;
        old_.folder = "/link/lun0-g1";
        old_.reserve_bytes = 0;
        new_ = old_;
        new_.version = std::make_shared<SimVersion>(storage_, next_, "/pack2", 'b');
        new_.folder = "/link/lun0-g2";
        disk_ = open(old_);
    }

    void run() {
        for (unsigned i = 0; i < 60; ++i) write_something();
        perform(Operation::flush, 0, 0, nullptr);
        for (std::int64_t calls = 1; !carried_; ++calls) attempt(calls);
        snapshot_.reset();
        end_process(random_() % 2 == 0);
        // Until its owner goes by the new one, the old one is what it was.
        disk_ = open(old_);
        CHECK(read_all(view_.size()) == view_);
        disk_->close();
        disk_ = open(new_);
        CHECK(read_all(next_.size()) == expected_);
        for (const char* name : {"journal", "slots"}) storage_.remove(old_.folder / name);
        view_ = expected_;
        for (unsigned i = 0; i < 20; ++i) write_something();
        perform(Operation::flush, 0, 0, nullptr);
        end_process(true);
        disk_ = open(new_);
        CHECK(read_all(view_.size()) == view_);
        disk_->close();
    }

  private:
    void fill(Content& disk, std::size_t at, std::size_t length) {
        for (std::size_t i = at; i < at + length; i += 8) {
            const std::uint64_t word = random_();
            std::memcpy(disk.data() + i, &word, 8);
        }
    }
    Content random_disk(std::size_t blocks) {
        Content disk(blocks * kBlock);
        for (std::size_t at = 0; at < disk.size(); at += store::kChunkBytes)
            if (random_() % 3 != 0)
                fill(disk, at, std::min<std::size_t>(store::kChunkBytes, disk.size() - at));
        return disk;
    }

    std::unique_ptr<LinkDisk> open(const LinkDiskOptions& options) {
        auto opened = open_link_disk(options, ring_, storage_, {});
        if (!opened) FAIL(opened.error().message);
        return std::move(*opened);
    }
    void perform(Operation operation, std::size_t offset, std::size_t length, std::uint8_t* data) {
        Request request;
        request.operation = operation;
        request.offset_bytes = offset;
        request.length_bytes = length;
        request.data = data;
        request.complete = [](Request&) noexcept {};
        static_cast<void>(disk_->submit(request));
        while (ring_.in_flight() > 0) ring_.complete_one();
        REQUIRE(request.outcome == Outcome::ok);
    }
    Content read_all(std::size_t size) {
        Content data(size);
        perform(Operation::read, 0, size, data.data());
        return data;
    }

    void write_something() {
        const std::size_t at = random_() % (view_.size() / 512) * 512;
        const std::size_t most = random_() % 10 == 0 ? view_.size() : 6 * kBlock;
        const std::size_t length =
            std::min((1 + random_() % (most / 512)) * 512, view_.size() - at);
        switch (random_() % 6) {
            case 0:
                std::fill_n(view_.begin() + static_cast<std::ptrdiff_t>(at), length, 0);
                return perform(Operation::unmap, at, length, nullptr);
            case 1: {  // what is there already
                Content same(view_.begin() + static_cast<std::ptrdiff_t>(at),
                             view_.begin() + static_cast<std::ptrdiff_t>(at + length));
                return perform(Operation::write, at, length, same.data());
            }
            default:
                fill(view_, at, length);
                Content data(view_.begin() + static_cast<std::ptrdiff_t>(at),
                             view_.begin() + static_cast<std::ptrdiff_t>(at + length));
                perform(Operation::write, at, length, data.data());
        }
    }

    // The storage fails from that call on.
    void attempt(std::int64_t calls) {
        if (!snapshot_) {
            disk_->take_snapshot([&](auto taken) {
                REQUIRE(taken);
                snapshot_ = std::move(*taken);
            });
        }
        REQUIRE(snapshot_);
        note_expected();
        storage_.calls_until_dead = calls;
        const auto carried = snapshot_->carry_over(*new_.version, new_.folder);
        storage_.calls_until_dead = -1;
        carried_ = carried.has_value();
        if (carried_ || random_() % 3 == 0) return;
        end_process(random_() % 2 == 0);
        disk_ = open(old_);
        CHECK(read_all(view_.size()) == view_);
    }

    void note_expected() {
        expected_ = next_;
        std::vector<bool> kept(view_.size() / kBlock);
        for (const ChunkBlocks& chunk : snapshot_->changed())
            for (unsigned i = 0; i < 16; ++i)
                if (chunk.blocks >> i & 1) kept.at(chunk.chunk * 16 + i) = true;
        for (std::size_t block = 0; block < kept.size(); ++block) {
            const auto at = static_cast<std::ptrdiff_t>(block * kBlock);
            if (kept[block])
                std::copy_n(view_.begin() + at, kBlock, expected_.begin() + at);
            else  // only what is the old version's own counts as not written
                REQUIRE(std::equal(view_.begin() + at, view_.begin() + at + kBlock,
                                   base_.begin() + at));
        }
    }

    // Nothing of a killed process may run any more, so what it had is kept as it was.
    void end_process(bool power) {
        static auto* const disks = new std::vector<std::unique_ptr<LinkDisk>>;
        static auto* const snapshots = new std::vector<std::unique_ptr<const DiskSnapshot>>;
        ring_.abandon_all();
        if (snapshot_) snapshots->push_back(std::move(snapshot_));
        disks->push_back(std::move(disk_));
        if (power) storage_.lose_power();
    }

    Random random_;
    SimStorage storage_{random_};
    SimRing ring_{storage_, random_};
    Content base_, next_;  // the versions
    Content view_;         // what the client sees
    Content expected_;     // what it is to see over the next version
    LinkDiskOptions old_, new_;
    std::unique_ptr<LinkDisk> disk_;
    std::unique_ptr<const DiskSnapshot> snapshot_;
    bool carried_ = false;
};

}  // namespace

TEST_CASE("an overlay is carried over another version, or stays what it was, whenever it is cut") {
    log::set_level(spdlog::level::off);
    for (const std::uint64_t seed : seeds(60)) {
        INFO("GOLDLINK_SIM_SEED=" << seed);
        Carrying(seed).run();
    }
}

TEST_CASE("an overlay is not carried over a version that is smaller, or cuts its last block") {
    log::set_level(spdlog::level::off);
    Random random(3);
    SimStorage storage(random);
    SimRing ring(storage, random);
    LinkDiskOptions options;
    options.version = std::make_shared<SimVersion>(storage, Content(20 * kBlock + 512));
    options.policy = Policy::keep;
    options.folder = "/link/lun0-g1";
    options.reserve_bytes = 0;
    auto disk = open_link_disk(options, ring, storage, {});
    REQUIRE(disk);
    std::unique_ptr<const DiskSnapshot> snapshot;
    (*disk)->take_snapshot([&](auto taken) { snapshot = std::move(*taken); });
    for (const std::size_t bytes : {20 * kBlock, 21 * kBlock}) {
        const SimVersion other(storage, Content(bytes), "/pack2", 'b');
        const auto carried = snapshot->carry_over(other, "/link/lun0-g2");
        REQUIRE(!carried);
        CHECK(carried.error().kind == ErrorKind::conflict);
    }
    const SimVersion same_size(storage, Content(20 * kBlock + 512), "/pack2", 'b');
    CHECK(snapshot->carry_over(same_size, "/link/lun0-g2"));
    snapshot.reset();
    (*disk)->close();
}
