// Seeded simulation of two initiators on one link: their real sessions, the device and the overlay
// disk, over connections that are slow, short, and cut at any byte, and a storage that answers late
// and in part. A model of the disk says what every read may return. GOLDLINK_SIM_SEED=n runs that
// seed alone, GOLDLINK_SIM_SEEDS=n that many.
//
// A write that was answered is there. One whose fate is unknown (its connection was cut, it was
// aborted) was done or not, block by block; nothing of it may happen later than the answer to the
// ABORT TASK or the login that takes the session's place. So an initiator keeps others away from
// the blocks of a command until it knows that the command has ended, as a cluster's lock does.
#include <algorithm>
#include <catch2/catch.hpp>
#include <list>

#include "common/log.hpp"
#include "target/disk/overlay_disk.hpp"
#include "tests/sim/disk_model.hpp"
#include "tests/sim/initiator.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/sim/sim_version.hpp"

using namespace goldlink;
using namespace goldlink::sim;

namespace {

constexpr std::uint64_t kBlock = DiskModel::kBlock;

struct SimLink final : iscsi::Directory, iscsi::LinkEndpoint {
    explicit SimLink(std::shared_ptr<disk::Disk> disk)
        : device("iqn.a:sim", {{0, {}, std::move(disk)}}),
          entry(std::make_shared<iscsi::TargetEntry>()) {
        entry->iqn = "iqn.a:sim";
        entry->endpoint = this;
    }
    std::shared_ptr<const iscsi::TargetEntry> find_target(std::string_view) const override {
        return entry;
    }
    std::vector<std::shared_ptr<const iscsi::TargetEntry>> list_targets(
        std::string_view) const override {
        return {entry};
    }
    void login_refused(std::string_view, std::string_view, std::string_view,
                       std::string_view) override {}
    scsi::Device* session_started(const iscsi::SessionInfo&, iscsi::SessionControl&) override {
        ++sessions;
        return &device;
    }
    void session_ended(iscsi::SessionControl&, iscsi::SessionEnd) override { --sessions; }
    void first_write(iscsi::SessionControl&) override {}

    scsi::Device device;
    std::shared_ptr<iscsi::TargetEntry> entry;
    int sessions = 0;
};

class SessionSimulation {
  public:
    explicit SessionSimulation(std::uint64_t seed)
        : random_(seed), storage_(random_), ring_(storage_, random_) {
        const std::vector<std::uint8_t> base = make_base();
        model_ = std::make_unique<DiskModel>(base);
        locked_.resize((base.size() + kBlock - 1) / kBlock);
        options_.version = std::make_shared<SimVersion>(storage_, base);
        options_.policy = static_cast<disk::Policy>(random_() % 3);
        options_.folder = "/overlay";
        options_.reserve_bytes = 0;
        storage_.map_files = random_() % 2 == 0;
        disk::OverlayTuning tuning;
        tuning.min_checkpoint_records = 20 + random_() % 400;
        tuning.many_freed_slots = 5 + random_() % 100;
        auto opened = disk::open_link_disk(options_, ring_, storage_, tuning);
        require(opened.has_value(), "the overlay does not open");
        disk_ = std::move(*opened);
        if (random_() % 3 != 0) storage_.faults.miss = static_cast<unsigned>(random_() % 90);
        if (random_() % 3 == 0) storage_.faults.short_io = static_cast<unsigned>(random_() % 30);
        storage_.faults.stall = random_() % 2 == 0;
        cut_chance_ = random_() % 3 == 0 ? 0 : 1 + random_() % 20;
        reset_chance_ = random_() % 2 == 0 ? 0 : 1 + random_() % 20;
        window_bytes_ = 1 + (random_() % 2 == 0 ? random_() % 500 : random_() % 100'000);

        link_ = std::make_unique<SimLink>(disk_);
        environment_ = std::make_unique<iscsi::Environment>(
            *link_, [](MutableBytes bytes) { std::ranges::fill(bytes, 0x5a); }, 0);
        for (unsigned i = 0; i < 2; ++i)
            initiators_.push_back(std::make_unique<Initiator>(
                i == 0 ? "iqn.a:one" : "iqn.a:two", 0x400001370000 + i, random_,
                [this] {
                    wires_.push_back(std::make_shared<Wire>(*environment_, random_, window_bytes_));
                    return wires_.back();
                },
                [this](SimCommand& command, SimCommand::End how) { ended(command, how); }));
    }

    void run() {
        const unsigned steps = 500 + static_cast<unsigned>(random_() % 3000);
        for (unsigned step = 0; step < steps; ++step) {
            const auto dice = random_() % 100;
            Initiator& initiator = *initiators_[random_() % 2];
            if (dice < 30)
                act(initiator);
            else if (dice < 45)
                initiator.connected() ? initiator.send_some() : initiator.connect();
            else if (dice < 60)
                ring_.complete_one();
            else
                progress();
        }
        settle();
        check_whole_disk();
        for (auto& initiator : initiators_) {
            if (random_() % 2 == 0 && initiator->ready()) initiator->logout();
            for (int i = 0; i < 1000 && initiator->ready(); ++i) progress();
            if (initiator->connected()) initiator->cut();
        }
        drain();
    }

  private:
    std::vector<std::uint8_t> make_base() {
        std::vector<std::uint8_t> base((20 + random_() % 100) * kBlock + random_() % 8 * 512);
        for (std::size_t at = 0; at < base.size(); at += store::kChunkBytes) {
            if (random_() % 3 == 0) continue;
            const auto end = std::min<std::size_t>(base.size(), at + store::kChunkBytes);
            for (std::size_t i = at; i < end; ++i) base[i] = static_cast<std::uint8_t>(random_());
        }
        return base;
    }

    // One of the things that happen on connections by themselves.
    void progress() {
        if (wires_.empty()) return;
        auto chosen = wires_.begin();
        std::advance(chosen, random_() % wires_.size());
        Wire& wire = **chosen;
        const bool much = random_() % 2 == 0;
        const std::size_t bytes = much ? 100'000 : 1 + random_() % 200;
        switch (random_() % 8) {
            case 0:
            case 1:
            case 2:
                wire.deliver(bytes);
                break;
            case 3:
            case 4:
                if (wire.wants_turn()) wire.turn();
                break;
            case 5:
            case 6:
                for (auto& initiator : initiators_)
                    if (initiator->wire() == &wire) {
                        initiator->receive(bytes);
                        break;
                    }
                break;
            default:
                now_ms_ += random_() % 500;
                for (auto& each : wires_) each->tick(now_ms_);
                // What was cut is noticed some time, unless a new session ends it before.
                if (wire.initiator_gone && random_() % 4 == 0) wire.lose();
        }
        std::erase_if(wires_,
                      [](const auto& each) { return each->initiator_gone && each->over(); });
    }

    void act(Initiator& initiator) {
        if (!initiator.connected()) return initiator.connect();
        if (random_() % 1000 < cut_chance_) return initiator.cut();
        if (!initiator.ready()) return;
        const auto dice = random_() % 100;
        if (random_() % 1000 < reset_chance_) {
            constexpr std::array<unsigned, 4> kFunctions{2, 4, 5, 6};
            return initiator.manage(kFunctions[random_() % kFunctions.size()]);
        }
        if (dice < 3) return initiator.abort_one(false);
        if (dice < 8) return initiator.abort_one(true);
        if (!initiator.window_open()) return;
        if (dice < 10) return initiator.nop();
        if (dice == 10 && random_() % 20 == 0) return initiator.logout();
        if (initiator.pending() < 40) command(initiator);
    }

    void command(Initiator& initiator) {
        using Kind = SimCommand::Kind;
        auto command = std::make_unique<SimCommand>();
        const auto dice = random_() % 100;
        command->kind = dice < 40   ? Kind::write
                        : dice < 80 ? Kind::read
                        : dice < 86 ? Kind::unmap
                        : dice < 92 ? Kind::write_same
                        : dice < 97 ? Kind::flush
                                    : Kind::none;
        if (command->kind != Kind::flush && command->kind != Kind::none) {
            const std::uint64_t unit = random_() % 2 == 0 ? kBlock : 512;
            const std::uint64_t units = model_->size() / unit;
            command->offset = random_() % units * unit;
            command->length =
                std::min((1 + random_() % 16) * unit, model_->size() - command->offset);
            if (!lock(*command)) return;
        }
        if (command->kind == Kind::write || command->kind == Kind::write_same) {
            command->data.resize(command->length);
            for (std::size_t at = 0; at < command->length; at += 512) {
                const std::uint64_t word = at > 0 && command->kind == Kind::write_same ? 0
                                           : random_() % 3 == 0                        ? 0
                                                                                       : ++writes_;
                for (std::size_t i = at; i < at + 512; i += 8)
                    std::memcpy(command->data.data() + i,
                                at > 0 && command->kind == Kind::write_same
                                    ? command->data.data()
                                    : reinterpret_cast<const std::uint8_t*>(&word),
                                8);
            }
        }
        initiator.send(std::move(command));
    }

    // Blocks are for one command that changes them or for any number that read them.
    bool lock(const SimCommand& command) {
        const auto [first, last] = blocks(command);
        const bool reads = command.kind == SimCommand::Kind::read;
        for (std::uint64_t block = first; block <= last; ++block)
            if (locked_[block] < 0 || (!reads && locked_[block] > 0)) return false;
        for (std::uint64_t block = first; block <= last; ++block)
            reads ? ++locked_[block] : locked_[block] = -1;
        return true;
    }
    void unlock(const SimCommand& command) {
        const auto [first, last] = blocks(command);
        const bool reads = command.kind == SimCommand::Kind::read;
        for (std::uint64_t block = first; block <= last; ++block)
            reads ? --locked_[block] : locked_[block] = 0;
    }
    static std::pair<std::uint64_t, std::uint64_t> blocks(const SimCommand& command) {
        return {command.offset / kBlock, (command.offset + command.length - 1) / kBlock};
    }

    void ended(SimCommand& command, SimCommand::End how) {
        using Kind = SimCommand::Kind;
        if (command.kind == Kind::flush || command.kind == Kind::none) return;
        unlock(command);
        if (command.kind == Kind::read) {
            if (how != SimCommand::End::good) return;
            const auto wrong = model_->check(command.offset, command.length, command.data.data());
            return require(wrong.empty(), "a read: " + wrong);
        }
        if (how == SimCommand::End::not_done) return;
        model_->wrote(command.offset, command.length,
                      command.kind == Kind::unmap ? nullptr : command.data.data(),
                      how == SimCommand::End::good ? DiskModel::Certainty::done
                                                   : DiskModel::Certainty::maybe);
    }

    // Everything comes to its end when nobody begins anything new.
    void settle() {
        window_bytes_ = 1U << 20;
        for (auto& wire : wires_) wire->set_window(window_bytes_);
        for (int round = 0; round < 200'000; ++round) {
            bool idle = ring_.in_flight() == 0;
            for (auto& initiator : initiators_) {
                if (!initiator->connected()) initiator->connect();
                if (initiator->ready()) initiator->abort_one(true);
                if (initiator->connected()) initiator->send_some();
                idle = idle && initiator->ready() && initiator->idle();
            }
            if (idle) return;
            ring_.complete_one();
            progress();
        }
        std::string what = "the simulation does not come to rest:";
        for (auto& initiator : initiators_)
            what += " " + std::to_string(initiator->pending()) + " commands" +
                    (initiator->ready() ? "" : " without a session");
        for (auto& wire : wires_) what += "; a wire: " + wire->describe();
        throw Broken(what + ", " + std::to_string(ring_.in_flight()) + " at the storage");
    }

    void check_whole_disk() {
        for (std::uint64_t at = 0; at < model_->size(); at += 16 * kBlock) {
            for (int again = 0;; ++again) {  // a unit attention may be in the way
                auto read = std::make_unique<SimCommand>();
                read->kind = SimCommand::Kind::read;
                read->offset = at;
                read->length = std::min(16 * kBlock, model_->size() - at);
                require(lock(*read), "a block is locked by a command that has ended");
                while (!initiators_[0]->ready() || !initiators_[0]->window_open()) settle();
                initiators_[0]->send(std::move(read));
                settle();
                if (again == 3) break;
            }
        }
    }

    // Nothing may be left.
    void drain() {
        for (int round = 0; round < 100'000 && (!wires_.empty() || ring_.in_flight() > 0);
             ++round) {
            ring_.complete_one();
            progress();
        }
        require(wires_.empty(), "a connection does not end");
        require(ring_.in_flight() == 0, "an operation does not end");
        require(link_->sessions == 0 && environment_->sessions.size() == 0, "a session leaks");
        require(link_->device.tasks_in_flight() == 0, "a task leaks");
        require(environment_->buffers.out_bytes() == 0, "a buffer leaks");
        disk_->close();
    }

    Random random_;
    SimStorage storage_;
    SimRing ring_;
    std::unique_ptr<DiskModel> model_;
    disk::LinkDiskOptions options_;
    std::shared_ptr<disk::LinkDisk> disk_;
    std::unique_ptr<SimLink> link_;
    std::unique_ptr<iscsi::Environment> environment_;
    std::list<std::shared_ptr<Wire>> wires_;
    std::vector<std::unique_ptr<Initiator>> initiators_;
    std::vector<int> locked_;  // by block: -1 changing, else how many read it
    std::uint64_t now_ms_ = 1;
    std::uint64_t writes_ = 0;
    std::uint64_t cut_chance_ = 0, reset_chance_ = 0;  // of a thousand
    std::size_t window_bytes_ = 0;
};

}  // namespace

TEST_CASE("two initiators read what the model allows, over connections that fail") {
    log::set_level(spdlog::level::off);  // what goes wrong here is meant to
    const std::vector<std::uint64_t> all = seeds(200);
    REQUIRE_FALSE(all.empty());
    for (const std::uint64_t seed : all) {
        INFO("GOLDLINK_SIM_SEED=" << seed);
        try {
            auto simulation = std::make_unique<SessionSimulation>(seed);
            try {
                simulation->run();
            } catch (...) {
                static_cast<void>(simulation.release());  // as it was: it cannot be taken apart
                throw;
            }
        } catch (const Broken& broken) {
            FAIL(broken.what());
        }
    }
}
