// Seeded simulation of a link's disk: the real LinkDisk over a disk in memory that misbehaves,
// against a model. GOLDLINK_SIM_SEED=n runs that seed alone, GOLDLINK_SIM_SEEDS=n that many.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <set>

#include "common/log.hpp"
#include "disk_model.hpp"
#include "sim_storage.hpp"
#include "target/disk/disk_snapshot.hpp"
#include "target/disk/overlay_disk.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/sim/sim_version.hpp"

using namespace goldlink;
using namespace goldlink::sim;
using namespace goldlink::disk;

namespace {

constexpr std::uint64_t kBlock = DiskModel::kBlock;

struct InFlight {
    Request request;
    std::vector<std::uint8_t> data;
    std::uint64_t asked = 0;
    bool done = false;
};

// What a disk held at a moment, and what it must read as.
struct Saved {
    std::unique_ptr<const DiskSnapshot> snapshot;
    std::unique_ptr<DiskModel> model;
};

// Disks of killed processes: nothing of theirs may run, so they are kept as they were.
std::vector<Saved>& snapshot_graveyard() {
    static auto* const snapshots = new std::vector<Saved>;
    return *snapshots;
}
std::vector<std::unique_ptr<LinkDisk>>& graveyard() {
    static auto* const disks = new std::vector<std::unique_ptr<LinkDisk>>;
    return *disks;
}

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed)
        : random_(seed), storage_(random_), ring_(storage_, random_) {
        std::vector<std::uint8_t> base((200 + random_() % 300) * kBlock + random_() % 8 * 512);
        for (std::size_t at = 0; at < base.size(); at += store::kChunkBytes) {
            if (random_() % 3 == 0) continue;
            const auto end = std::min<std::size_t>(base.size(), at + store::kChunkBytes);
            for (std::size_t i = at; i < end; i += 8) {
                const std::uint64_t word = random_();
                std::memcpy(base.data() + i, &word, std::min<std::size_t>(8, end - i));
            }
        }
        model_ = std::make_unique<DiskModel>(base);
        base_ = base;
        version_ = std::make_shared<SimVersion>(storage_, base);
        options_.version = version_;
        options_.policy = random_() % 3 == 0   ? Policy::discard
                          : random_() % 2 == 0 ? Policy::keep
                                               : Policy::super;
        options_.folder = "/overlay";
        options_.reserve_bytes = 0;
        if (random_() % 2 == 0) options_.quota_bytes = (50 + random_() % 200) * kBlock;
        if (options_.policy == Policy::discard && random_() % 2 == 0) {
            options_.ram_folder = "/ram";
            options_.ram_budget_bytes = random_() % 100 * kBlock;
            storage_.memory_backed_files = random_() % 2 == 0;
        }
        storage_.map_files = random_() % 4 != 0;
        tuning_.min_checkpoint_records = 20 + random_() % 400;
        tuning_.many_freed_slots = 5 + random_() % 200;
        faults_ = pick_faults();
        open();
    }

    std::string describe() const {
        return "policy " + std::to_string(static_cast<int>(options_.policy)) + ", percent: miss " +
               std::to_string(faults_.miss) + " short " + std::to_string(faults_.short_io) +
               " read error " + std::to_string(faults_.read_error) + " write error " +
               std::to_string(faults_.write_error) + " sync error " +
               std::to_string(faults_.sync_error) + " full " + std::to_string(faults_.full) +
               (faults_.stall ? ", stalling" : "");
    }

    void run() {
        const unsigned steps = 200 + static_cast<unsigned>(random_() % 600);
        for (unsigned step = 0; step < steps; ++step) {
            const auto dice = random_() % 100;
            if (random_() % 100 == 0)
                save();
            else if (random_() % 200 == 0)
                check_saved();
            if (dice < 50)
                submit();
            else if (dice < 90)
                ring_.complete_one();
            else if (dice < 95)
                storage_.write_back_some();
            else if (dice < 98)
                reap();
            else if (dice == 98)
                kill(false);
            else if (random_() % 2 == 0)
                kill(true);
            reap();
        }
        settle();
        check_all();
        check_saved();
        check_all();
        note_failed_storage();
        disk_->close();
        disk_.reset();
        open();
        check_all();
        rot();
        disk_->close();
        disk_.reset();
    }

  private:
    // Of a flushed disk bytes change on the storage: a read gives what was written or an error, a
    // disk whose journal is damaged is not opened, and what is written whole is good again.
    void rot() {
        storage_.faults = {};
        if (!durable() || flush() != Outcome::ok) return;
        settle();
        const std::uint64_t records = disk_->usage().journal_bytes - 4096;
        const std::uint64_t slots = disk_->usage().used_bytes * 2;
        disk_->close();
        disk_.reset();
        if (random_() % 2 == 0) {
            // Long after, so the witness of the last flush has reached the disk by itself.
            const int fd = storage_.open(options_.folder / "journal", false);
            REQUIRE(storage_.sync(fd) == 0);
            storage_.close(fd);
            storage_.lose_power();
            model_->lost_power(false);
        }
        const bool of_journal = random_() % 2 == 0;
        if (of_journal)
            rot_file("journal", 4096, records, 1);
        else
            rot_file("slots", 0, slots, 1 + random_() % 20);
        auto opened = open_link_disk(options_, ring_, storage_, tuning_);
        if (!opened) {
            CHECK(of_journal);
            CHECK(opened.error().kind == ErrorKind::corrupt);
            // Without the damage it is what it was: nothing was changed.
            rot_file("journal", 4096, 0, 0);
            opened = open_link_disk(options_, ring_, storage_, tuning_);
            REQUIRE(opened);
        }
        disk_ = std::move(*opened);
        storage_.faults.miss = random_() % 2 == 0 ? 50 : 0;
        const std::uint64_t blocks = model_->size() / kBlock;
        std::vector<std::uint8_t> data(kBlock);
        for (std::uint64_t block = 0; block < blocks; ++block) {
            const Outcome outcome = perform(Operation::read, block * kBlock, data);
            if (outcome != Outcome::ok) {
                CHECK(!of_journal);
                CHECK(outcome == Outcome::medium_error);
                CHECK(disk_->usage().bad_bytes > 0);
                fill_anew(data);
                REQUIRE(perform(Operation::write, block * kBlock, data) == Outcome::ok);
                model_->wrote(block * kBlock, kBlock, data.data(), DiskModel::Certainty::done);
                REQUIRE(perform(Operation::read, block * kBlock, data) == Outcome::ok);
            }
            const auto wrong = model_->check(block * kBlock, kBlock, data.data());
            if (!wrong.empty()) FAIL("after rot: " << wrong);
        }
        CHECK(disk_->usage().bad_bytes == 0);
    }

    // Remembers what it changed; `count` 0 puts it back.
    void rot_file(const char* name, std::uint64_t from, std::uint64_t length, std::uint64_t count) {
        const int fd = storage_.open(options_.folder / name, false);
        REQUIRE(fd >= 0);
        const auto file = storage_.file(fd);
        storage_.close(fd);
        for (const std::uint64_t offset : std::exchange(rotten_, {})) file->rot(offset);
        length = std::min(length, file->size() - std::min(from, file->size()));
        for (std::uint64_t i = 0; i < count && length > 0; ++i)
            rotten_.insert(from + random_() % length);
        for (const std::uint64_t offset : rotten_) file->rot(offset);
        if (count == 0) rotten_.clear();
    }

    Outcome perform(Operation operation, std::uint64_t offset, std::vector<std::uint8_t>& data) {
        InFlight one;
        one.request.operation = operation;
        one.request.offset_bytes = offset;
        one.request.length_bytes = operation == Operation::flush ? 0 : data.size();
        one.request.data = data.data();
        one.request.owner = &one;
        one.request.complete = [](Request& finished) noexcept {
            static_cast<InFlight*>(finished.owner)->done = true;
        };
        one.done = disk_->submit(one.request) == Submit::done;
        while (!one.done) ring_.complete_one();
        return one.request.outcome;
    }
    Outcome flush() {
        std::vector<std::uint8_t> none;
        const std::uint64_t asked = model_->now();
        const Outcome outcome = perform(Operation::flush, 0, none);
        if (outcome == Outcome::ok) model_->flushed(asked);
        return outcome;
    }

    bool durable() const { return options_.policy != Policy::discard; }

    Faults pick_faults() {
        Faults faults;
        if (random_() % 2 == 0) faults.miss = static_cast<unsigned>(random_() % 60);
        if (random_() % 3 == 0) faults.short_io = static_cast<unsigned>(random_() % 30);
        if (random_() % 4 == 0) faults.read_error = static_cast<unsigned>(random_() % 5);
        if (random_() % 4 == 0) faults.write_error = static_cast<unsigned>(random_() % 10);
        if (random_() % 4 == 0) faults.full = static_cast<unsigned>(random_() % 20);
        if (random_() % 6 == 0) faults.sync_error = static_cast<unsigned>(random_() % 10);
        faults.stall = random_() % 3 == 0;
        return faults;
    }

    void open() {
        storage_.faults = {};
        if (random_() % 3 == 0) {  // an open that is cut short in its middle
            storage_.calls_until_dead = static_cast<std::int64_t>(1 + random_() % 60);
            auto cut = open_link_disk(options_, ring_, storage_, tuning_);
            storage_.calls_until_dead = -1;
            if (cut) graveyard().push_back(std::move(*cut));  // it got through; killed right then
            ring_.abandon_all();
            if (random_() % 3 == 0) {
                storage_.lose_power();
                model_->lost_power(!durable());
            }
        }
        auto opened = open_link_disk(options_, ring_, storage_, tuning_);
        if (!opened) FAIL(opened.error().message);
        disk_ = std::move(*opened);
        options_.must_exist = durable();  // a power loss takes a discard overlay
        storage_.faults = faults_;
    }

    bool overlaps_fua(std::uint64_t offset, std::uint64_t length) const {
        return std::any_of(in_flight_.begin(), in_flight_.end(), [&](const auto& other) {
            const Request& request = other->request;
            return request.fua && request.offset_bytes / kBlock * kBlock < offset + length &&
                   offset / kBlock * kBlock < request.offset_bytes + request.length_bytes;
        });
    }

    void submit() {
        if (in_flight_.size() >= 32) return;
        auto entry = std::make_unique<InFlight>();
        Request& request = entry->request;
        const auto dice = random_() % 100;
        request.operation = dice < 55   ? Operation::write
                            : dice < 85 ? Operation::read
                            : dice < 93
                                ? (random_() % 2 == 0 ? Operation::unmap : Operation::write_zeroes)
                                : Operation::flush;
        if (request.operation != Operation::flush) {
            // Half of all go to a few hot blocks; half are whole blocks.
            const bool whole = random_() % 2 == 0;
            const std::uint64_t unit = whole ? kBlock : 512;
            const std::uint64_t area = random_() % 2 == 0
                                           ? std::min<std::uint64_t>(model_->size(), 12 * kBlock)
                                           : model_->size();
            request.offset_bytes = random_() % (area / unit) * unit;
            const std::uint64_t most = request.operation == Operation::unmap ? 2000 : 20;
            request.length_bytes =
                std::min((1 + random_() % most) * unit, model_->size() - request.offset_bytes);
            request.may_lend = request.operation == Operation::read && random_() % 2 == 0;
            request.fua = request.operation != Operation::read && random_() % 10 == 0;
            request.atomic = request.operation == Operation::write && random_() % 5 == 0;
            if (overlaps_fua(request.offset_bytes, request.length_bytes)) return;
        }
        if (request.operation == Operation::write || request.operation == Operation::read) {
            entry->data.resize(request.length_bytes);
            if (request.atomic)
                fill_anew(entry->data);
            else if (request.operation == Operation::write)
                fill(entry->data);
            request.data = entry->data.data();
        }
        request.owner = entry.get();
        request.complete = [](Request& finished) noexcept {
            static_cast<InFlight*>(finished.owner)->done = true;
        };
        entry->asked = model_->now();
        if (disk_->submit(request) == Submit::done)
            settle_one(*entry);
        else
            in_flight_.push_back(std::move(entry));
    }

    // Random, zero in places, and sometimes what was written before.
    void fill(std::vector<std::uint8_t>& data) {
        if (random_() % 10 == 0) return;
        if (random_() % 10 == 0) {
            std::fill(data.begin(), data.end(), static_cast<std::uint8_t>(random_() % 3));
            return;
        }
        for (std::size_t at = 0; at < data.size(); at += 512) {
            const std::uint64_t word = random_();
            for (std::size_t i = at; i < at + 512; i += 8) std::memcpy(data.data() + i, &word, 8);
        }
    }

    // Nothing that was ever written before, so that one sees in a sector whether it is this.
    void fill_anew(std::vector<std::uint8_t>& data) {
        for (std::size_t at = 0; at < data.size(); at += 8) {
            const std::uint64_t word = random_();
            std::memcpy(data.data() + at, &word, 8);
        }
    }

    // What was written atomically, as long as nothing was written over any of its blocks.
    struct Together {
        std::uint64_t offset_bytes;
        std::vector<std::uint8_t> data;
    };
    void forget_together(const Request& request) {
        if (!mutating(request)) return;
        std::erase_if(together_, [&](const Together& each) {
            return request.offset_bytes / kBlock * kBlock < each.offset_bytes + each.data.size() &&
                   each.offset_bytes / kBlock * kBlock <
                       request.offset_bytes + request.length_bytes;
        });
    }
    void note_together(const Request& request) {
        forget_together(request);
        if (request.atomic)
            together_.push_back(
                {request.offset_bytes, {request.data, request.data + request.length_bytes}});
    }
    // After a kill or a power loss: every one is there as a whole, or not at all.
    void check_together(const std::vector<std::uint8_t>& disk) {
        for (const Together& each : together_) {
            std::size_t there = 0;
            for (std::size_t at = 0; at < each.data.size(); at += 512)
                if (std::memcmp(&disk[each.offset_bytes + at], &each.data[at], 512) == 0)
                    there += 512;
            if (there != 0 && there != each.data.size())
                FAIL("an atomic write of " << each.data.size() << " bytes at " << each.offset_bytes
                                           << " is there with " << there);
        }
    }

    // The model learns of a request when it ends; overlapping ones end in their order.
    void settle_one(InFlight& entry) {
        const Request& request = entry.request;
        const bool ok = request.outcome == Outcome::ok;
        switch (request.operation) {
            case Operation::read:
                if (ok) {
                    std::size_t at = 0;
                    for (std::size_t i = 0; i < request.lent_count; ++i) {
                        const LentRun& run = request.lent[i];
                        std::memcpy(request.data + at, run.data, run.length_bytes);
                        at += run.length_bytes;
                    }
                    const auto wrong =
                        model_->check(request.offset_bytes, request.length_bytes, request.data);
                    if (!wrong.empty()) FAIL(wrong);
                } else {
                    CHECK(faults_.read_error > 0);
                    CHECK(request.outcome == Outcome::medium_error);
                }
                break;
            case Operation::flush:
                if (ok && durable()) model_->flushed(entry.asked);
                if (!ok)
                    CHECK((faults_.sync_error > 0 || faults_.full > 0 || faults_.write_error > 0));
                break;
            default:
                // An atomic write that fails has changed nothing, unless it is the flush that
                // failed.
                if (!ok && request.atomic && !request.fua) {
                    CHECK(may_refuse(request.outcome));
                    break;
                }
                model_->wrote(request.offset_bytes, request.length_bytes, request.data,
                              ok               ? DiskModel::Certainty::done
                              : request.atomic ? DiskModel::Certainty::maybe
                                               : DiskModel::Certainty::torn);
                note_together(request);
                if (ok && request.fua && durable())
                    model_->flushed(model_->now(), request.offset_bytes, request.length_bytes);
                if (!ok) CHECK(may_refuse(request.outcome));
        }
    }

    bool may_refuse(Outcome outcome) const {
        switch (outcome) {
            case Outcome::medium_error:
                return faults_.read_error > 0;  // of a block written in part
            case Outcome::write_failed:
                return faults_.write_error > 0 || faults_.sync_error > 0 || faults_.full > 0;
            case Outcome::out_of_space:
                return faults_.full > 0 || options_.quota_bytes > 0 || !options_.ram_folder.empty();
            default:
                return false;
        }
    }

    void reap() {
        for (auto& entry : in_flight_)
            if (entry->done) settle_one(*entry);
        std::erase_if(in_flight_, [](const auto& entry) { return entry->done; });
    }

    void settle() {
        while (!in_flight_.empty() || ring_.in_flight() > 0) {
            REQUIRE(ring_.in_flight() > 0);
            ring_.complete_one();
            reap();
        }
    }

    // Takes a snapshot; what is in flight then may be in it or not.
    void save() {
        if (saved_.snapshot || saving_) return;
        saving_ = true;
        disk_->take_snapshot([this](Result<std::unique_ptr<const DiskSnapshot>> taken) {
            if (!taken) FAIL(taken.error().message);
            saving_ = false;
            saved_ = {std::move(*taken), std::make_unique<DiskModel>(*model_)};
            for (const auto& entry : in_flight_) {
                const Request& request = entry->request;
                if (mutating(request))
                    saved_.model->wrote(request.offset_bytes, request.length_bytes, request.data,
                                        DiskModel::Certainty::maybe);
            }
        });
        disk_->take_snapshot([](Result<std::unique_ptr<const DiskSnapshot>> second) {
            CHECK(second.error().kind == ErrorKind::conflict);
        });
    }

    // However the client went on since.
    void check_saved() {
        if (!saved_.snapshot) return;
        storage_.faults = {};
        std::vector<std::uint8_t> disk((model_->size() + store::kChunkBytes - 1) /
                                       store::kChunkBytes * store::kChunkBytes);
        std::copy(base_.begin(), base_.end(), disk.begin());
        const auto read_base = [&](std::uint64_t chunk, std::uint8_t* data) -> Result<> {
            const auto from =
                base_.begin() + static_cast<std::ptrdiff_t>(chunk * store::kChunkBytes);
            const auto length = std::min<std::size_t>(store::kChunkBytes,
                                                      static_cast<std::size_t>(base_.end() - from));
            std::fill_n(data, store::kChunkBytes, std::uint8_t{0});
            std::copy_n(from, length, data);
            return {};
        };
        for (const ChunkBlocks& each : saved_.snapshot->changed())
            REQUIRE(saved_.snapshot->read_chunk(
                each.chunk, disk.data() + each.chunk * store::kChunkBytes, read_base));
        const auto wrong = saved_.model->check(0, model_->size(), disk.data());
        if (!wrong.empty()) FAIL("what was saved: " << wrong);
        saved_ = {};
        storage_.faults = faults_;
    }

    // SIGKILL, or the power goes: requests in flight may have happened or not.
    void kill(bool power) {
        ring_.abandon_all();
        for (auto& entry : in_flight_) {
            const Request& request = entry->request;
            if (mutating(request)) {
                const bool whole_blocks = durable() || request.atomic;
                model_->wrote(
                    request.offset_bytes, request.length_bytes, request.data,
                    whole_blocks ? DiskModel::Certainty::maybe : DiskModel::Certainty::torn);
                note_together(request);
            }
            lost_.push_back(std::move(entry));  // their memory stays: the kernel may write to it
        }
        in_flight_.clear();
        note_failed_storage();
        saving_ = false;  // what waited waits for ever
        if (saved_.snapshot) snapshot_graveyard().push_back(std::move(saved_));
        saved_ = {};
        graveyard().push_back(std::move(disk_));
        if (power) {
            storage_.lose_power();
            model_->lost_power(!durable());
        }
        open();
        check_all();
    }

    // A disk whose storage failed to make data durable says so and takes no more: opened again, it
    // holds any of what was not flushed.
    void note_failed_storage() {
        if (disk_->usage().storage_failed) model_->shaken();
    }

    static bool mutating(const Request& request) {
        return request.operation != Operation::read && request.operation != Operation::flush;
    }

    void check_all() {
        storage_.faults = {};
        std::vector<std::uint8_t> data(model_->size());
        InFlight whole;
        whole.request.length_bytes = data.size();
        whole.request.data = data.data();
        whole.request.owner = &whole;
        whole.request.complete = [](Request& finished) noexcept {
            static_cast<InFlight*>(finished.owner)->done = true;
        };
        whole.done = disk_->submit(whole.request) == Submit::done;
        while (!whole.done) ring_.complete_one();
        REQUIRE(whole.request.outcome == Outcome::ok);
        const auto wrong = model_->check(0, data.size(), data.data());
        if (!wrong.empty()) FAIL(wrong);
        check_together(data);
        if (options_.quota_bytes > 0 || !saved_.snapshot)
            CHECK(disk_->usage().used_bytes <= disk_->usage().quota_bytes);
        storage_.faults = faults_;
    }

    Random random_;
    SimStorage storage_;
    SimRing ring_;
    std::unique_ptr<DiskModel> model_;
    std::vector<std::uint8_t> base_;
    std::shared_ptr<SimVersion> version_;
    LinkDiskOptions options_;
    OverlayTuning tuning_;
    Faults faults_;
    std::unique_ptr<LinkDisk> disk_;
    std::vector<std::unique_ptr<InFlight>> in_flight_;
    std::vector<std::unique_ptr<InFlight>> lost_;
    std::vector<Together> together_;
    Saved saved_;
    bool saving_ = false;
    std::set<std::uint64_t> rotten_;  // offsets of bytes that are not what they were
};

}  // namespace

TEST_CASE("an overlay reads as its model under faults, kills and power losses") {
    log::set_level(spdlog::level::off);  // what goes wrong here is meant to
    for (const std::uint64_t seed : seeds(200)) {
        INFO("GOLDLINK_SIM_SEED=" << seed);
        Simulation simulation(seed);
        INFO(simulation.describe());
        simulation.run();
    }
}
