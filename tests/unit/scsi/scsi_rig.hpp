// A device over memory disks, and the session's part of a task's life, for the tests of
// target/scsi.
#pragma once

#include <catch2/catch.hpp>
#include <deque>
#include <initializer_list>
#include <memory>
#include <vector>

#include "common/bytes.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::scsi::testing {

// Blocks in memory. Requests finish inline, or, while `hold` is set, when the test says so. A fault
// hits the next request of its operation.
class MemoryDisk : public disk::Disk {
  public:
    explicit MemoryDisk(disk::Geometry geometry)
        : geometry_(geometry), bytes_(geometry.size_bytes) {}

    const disk::Geometry& geometry() const override { return geometry_; }

    disk::Submit submit(disk::Request& request) noexcept override {
        submitted.push_back({request.operation, request.fua, request.offset_bytes,
                             request.length_bytes, request.atomic});
        if (hold) {
            held.push_back(&request);
            return disk::Submit::pending;
        }
        request.outcome = run(request);
        return disk::Submit::done;
    }

    disk::Extent extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const override {
        constexpr std::uint64_t kUnit = 4096;
        const auto mapped = [&](std::uint64_t at) {
            const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(at / kUnit * kUnit);
            return std::any_of(from, from + kUnit, [](std::uint8_t byte) { return byte != 0; });
        };
        const bool first = mapped(offset_bytes);
        std::uint64_t length = kUnit - offset_bytes % kUnit;
        while (length < max_bytes && offset_bytes + length < bytes_.size() &&
               mapped(offset_bytes + length) == first)
            length += kUnit;
        return {std::min(length, max_bytes), first};
    }

    // Finishes the oldest held request.
    void finish_one() {
        REQUIRE(!held.empty());
        disk::Request* request = held.front();
        held.pop_front();
        request->outcome = run(*request);
        request->complete(*request);
    }
    void finish_all() {
        while (!held.empty()) finish_one();
    }

    void fail_next(disk::Operation operation, disk::Outcome outcome) {
        fault_operation_ = operation;
        fault_ = outcome;
    }

    std::uint8_t* data() { return bytes_.data(); }

    struct Seen {
        disk::Operation operation;
        bool fua;
        std::uint64_t offset_bytes, length_bytes;
        bool atomic;
    };
    std::vector<Seen> submitted;
    std::deque<disk::Request*> held;
    bool hold = false;

  private:
    disk::Outcome run(disk::Request& request) {
        if (fault_ != disk::Outcome::ok && request.operation == fault_operation_)
            return std::exchange(fault_, disk::Outcome::ok);
        if (request.offset_bytes + request.length_bytes > bytes_.size())
            return disk::Outcome::out_of_range;
        std::uint8_t* at = bytes_.data() + request.offset_bytes;
        const auto length = static_cast<std::size_t>(request.length_bytes);
        switch (request.operation) {
            case disk::Operation::read:
                std::memcpy(request.data, at, length);
                break;
            case disk::Operation::write:
                std::memcpy(at, request.data, length);
                break;
            case disk::Operation::unmap:
            case disk::Operation::write_zeroes:
                std::memset(at, 0, length);
                break;
            case disk::Operation::flush:
                break;
        }
        return disk::Outcome::ok;
    }

    disk::Geometry geometry_;
    std::vector<std::uint8_t> bytes_;
    disk::Operation fault_operation_ = disk::Operation::read;
    disk::Outcome fault_ = disk::Outcome::ok;
};

// A CDB under construction: cdb(0x28).be32(2, lba).be16(7, count).
struct Cdb {
    std::array<std::uint8_t, 16> raw{};
    Cdb& u8(std::size_t at, unsigned value) {
        raw[at] = static_cast<std::uint8_t>(value);
        return *this;
    }
    Cdb& be16(std::size_t at, std::uint16_t value) {
        store_be16(&raw[at], value);
        return *this;
    }
    Cdb& be32(std::size_t at, std::uint32_t value) {
        store_be32(&raw[at], value);
        return *this;
    }
    Cdb& be64(std::size_t at, std::uint64_t value) {
        store_be64(&raw[at], value);
        return *this;
    }
};
inline Cdb cdb(std::uint8_t opcode) { return Cdb{}.u8(0, opcode); }

// A task with the memory the session would give it.
struct Command {
    Task task;
    std::vector<std::uint8_t> buffer;
    bool done = false;
    int completions = 0;

    Bytes data_in() const {
        return Bytes(buffer).first(std::min(task.data_in_length, task.offered_in));
    }
    bool good() const { return done && task.status == Status::good; }
    // "5/20/00" style, or the status.
    bool sense(unsigned key, unsigned asc, unsigned ascq) const {
        return done && task.status == Status::check_condition && task.sense.key == key &&
               task.sense.asc == asc && task.sense.ascq == ascq;
    }
};

inline constexpr std::uint64_t kDiskBytes = 64u << 20;
inline constexpr std::uint32_t kDiscBlockBytes = 2048;

struct Rig {
    std::vector<std::shared_ptr<MemoryDisk>> disks;
    std::shared_ptr<MemoryDisk> disk;
    std::unique_ptr<Device> device;
    Nexus* first = nullptr;   // of initiator 1, its power-on attention taken
    Nexus* second = nullptr;  // of initiator 2, likewise
    std::deque<Command> commands;
    bool woken = false;  // the device has asked for run_background
    struct Save {
        PersistentUnit state;
        std::uint64_t ticket;
    };
    std::deque<Save> saves;  // asked for and not answered yet, of a durable rig

    explicit Rig(disk::Geometry geometry = {.size_bytes = kDiskBytes}, bool durable = false,
                 const PersistentUnit& restored = {}, bool removable = false)
        : Rig(std::vector{geometry}, durable ? saving() : DeviceSeams{}, restored, removable) {}

    // A unit a geometry, from LUN 0, a CD-ROM where its blocks are those of one; `disk` and what
    // follows the seams are the first one's.
    Rig(const std::vector<disk::Geometry>& geometries, DeviceSeams seams,
        const PersistentUnit& restored = {}, bool removable = false) {
        std::vector<LogicalUnitDefinition> units(geometries.size());
        for (std::size_t i = 0; i < units.size(); ++i) {
            disks.push_back(std::make_shared<MemoryDisk>(geometries[i]));
            units[i].lun = static_cast<std::uint16_t>(i);
            if (geometries[i].logical_block_bytes == kDiscBlockBytes)
                units[i].type = DeviceType::cdrom;
            units[i].identity.serial = "GL0123456789";
            units[i].identity.naa = 0x3123456789ABCDEF + i;
            units[i].disk = disks[i];
        }
        disk = disks[0];
        units[0].restored = restored;
        units[0].removable = removable;
        seams.wake = [this] { woken = true; };
        device = std::make_unique<Device>("iqn.2026-11.io.goldlink:pc-001", std::move(units),
                                          std::move(seams));
        first = device->open_nexus("iqn.2026-11.test:one,i,0x400001370000", 1);
        second = device->open_nexus("iqn.2026-11.test:two,i,0x400001370001", 1);
        for (Nexus* nexus : {first, second})
            for (std::uint64_t lun = 0; lun < disks.size(); ++lun)
                REQUIRE(run(nexus, cdb(0x00), {}, lun << 48).sense(6, 0x29, 0x00));
    }
    ~Rig() {
        for (const auto& each : disks) {
            each->hold = false;
            each->finish_all();
        }
        for (Nexus* nexus : {first, second})
            if (nexus != nullptr) device->close_nexus(nexus);
    }

    // One background step; false if none was asked for.
    bool step() {
        if (!std::exchange(woken, false)) return false;
        device->run_background();
        return true;
    }
    void finish_background() {
        while (step()) continue;
    }

    DeviceSeams saving() {
        DeviceSeams seams;
        seams.save = [this](std::uint16_t, const PersistentUnit& state, std::uint64_t ticket) {
            saves.push_back({state, ticket});
        };
        return seams;
    }

    // Ends the oldest save; returns what was to be saved.
    PersistentUnit end_save(bool ok = true) {
        REQUIRE_FALSE(saves.empty());
        const Save save = saves.front();
        saves.pop_front();
        device->saved(0, save.ticket, ok);
        return save.state;
    }

    // A command whose task is filled but not yet given to the device.
    Command& make(Nexus* nexus, const Cdb& cdb, std::vector<std::uint8_t> data_out = {},
                  std::uint64_t lun = 0) {
        Command& command = commands.emplace_back();
        command.task.cdb = cdb.raw;
        command.task.lun = lun;
        command.task.nexus = nexus;
        command.task.offered_out = static_cast<std::uint32_t>(data_out.size());
        command.task.offered_in = data_out.empty() ? 1u << 30 : 0;
        command.buffer = std::move(data_out);
        command.task.owner = &command;
        command.task.complete = [](Task& task) noexcept {
            Command& self = *static_cast<Command*>(task.owner);
            self.done = true;
            ++self.completions;
        };
        return command;
    }

    // prepare; false if it finished there.
    bool prepare(Command& command) {
        if (device->prepare(command.task) == Step::finished) {
            command.done = true;
            return false;
        }
        command.buffer.resize(std::max<std::size_t>(
            {command.task.data_in_length, command.task.data_out_length, command.buffer.size(), 1}));
        command.task.buffer = command.buffer.data();
        return true;
    }
    void execute(Command& command) {
        if (device->execute(command.task) == Step::finished) command.done = true;
    }
    Command& start(Command& command) {
        if (prepare(command)) execute(command);
        return command;
    }

    Command& run(Nexus* nexus, const Cdb& cdb, std::vector<std::uint8_t> data_out = {},
                 std::uint64_t lun = 0) {
        return start(make(nexus, cdb, std::move(data_out), lun));
    }
    Command& run(const Cdb& cdb, std::vector<std::uint8_t> data_out = {}) {
        return run(first, cdb, std::move(data_out));
    }
};

inline std::vector<std::uint8_t> pattern(std::size_t length, unsigned seed) {
    std::vector<std::uint8_t> bytes(length);
    for (std::size_t i = 0; i < length; ++i)
        bytes[i] = static_cast<std::uint8_t>(1 + (i * 31 + seed * 17) % 255);
    return bytes;
}

inline std::vector<std::uint8_t> copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

inline Cdb read10(std::uint32_t lba, std::uint16_t blocks) {
    return cdb(0x28).be32(2, lba).be16(7, blocks);
}
inline Cdb write10(std::uint32_t lba, std::uint16_t blocks) {
    return cdb(0x2A).be32(2, lba).be16(7, blocks);
}

}  // namespace goldlink::scsi::testing
