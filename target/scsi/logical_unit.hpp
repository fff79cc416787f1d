// The state behind Device: logical units, nexuses and what ties them. Internal to target/scsi.
//
// Thread: the link's reactor. A LogicalUnit never moves once the device is made. The device has one
// more unit than it was given, the last: `absent`, which answers for LUNs that do not exist.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "target/scsi/device.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/mode_pages.hpp"
#include "target/scsi/opcode_table.hpp"
#include "target/scsi/reservations.hpp"
#include "target/scsi/sanitize.hpp"
#include "target/scsi/unit_attention.hpp"

namespace goldlink::scsi {

// One disk request of a multi-step command is at most this long, and so is the memory it works in.
inline constexpr std::uint32_t kWorkBytes = 64 * 1024;
using WorkBuffer = std::array<std::uint8_t, kWorkBytes>;

// A command's data is at most this long (VPD B0, MAXIMUM TRANSFER LENGTH).
inline constexpr std::uint32_t kMaxTransferBytes = 8 * 1024 * 1024;
inline constexpr std::uint32_t kOptimalTransferBytes = 256 * 1024;
inline constexpr std::uint64_t kMaxUnmapBytes = 512u << 20;  // of one UNMAP command
inline constexpr std::uint32_t kMaxUnmapDescriptors = 256;
inline constexpr std::uint64_t kMaxWriteSameBytes = 16 * 1024 * 1024;

struct LogicalUnit {
    std::uint16_t lun = 0;
    DeviceType type = DeviceType::disk;
    bool absent = false;
    std::shared_ptr<disk::Disk> disk;

    // From the disk's geometry, which does not change while it is open.
    std::uint64_t block_count = 0;
    unsigned block_shift = 9;
    bool read_only = false;
    bool thin = false;
    unsigned physical_exponent = 0;      // physical block = logical block << exponent
    std::uint32_t max_atomic_bytes = 0;  // 0: no atomic writes

    Identity identity;
    ModePages mode;
    Reservations reservations;
    Sanitize sanitize;
    bool removable = false;
    bool stopped = false;            // by START STOP UNIT
    bool ejected = false;            // likewise, of a removable medium; a CD-ROM's tray is open
    bool restricted = false;         // some commands are refused: see refuse_restricted
    std::vector<std::uint8_t> echo;  // what WRITE BUFFER left for READ BUFFER
    const CommandSet* commands = nullptr;
    DeviceState* device = nullptr;

    // Task set, oldest first; head-of-queue tasks go to the front.
    Task* first_task = nullptr;
    Task* last_task = nullptr;
    std::uint32_t constrained = 0;  // tasks in the set that are ordered, head of queue or exclusive
    std::uint32_t waiting = 0;      // tasks in phase `waiting`
    bool releasing = false;         // guards release_waiting against recursion

    std::uint32_t rod_tokens = 0;  // valid ones that stand for blocks of this unit

    std::vector<std::unique_ptr<WorkBuffer>> spare_work;

    std::vector<Task*> saving;    // commands that answer when their save has ended
    std::uint64_t last_save = 0;  // the newest ticket given

    // Whether its space is counted, which is in sets of 1 MiB (SBC-3 4.7.3.7).
    bool counts_space() const { return thin && disk->space().has_value(); }
    std::uint8_t threshold_exponent() const { return static_cast<std::uint8_t>(20 - block_shift); }

    std::uint32_t block_bytes() const { return 1u << block_shift; }
    std::uint32_t blocks_of(std::uint64_t bytes) const {
        return static_cast<std::uint32_t>(bytes >> block_shift);
    }
    std::uint32_t max_compare_and_write_blocks() const {
        return std::min(blocks_of(kWorkBytes), 255u);
    }
};

// Media events of GET EVENT STATUS NOTIFICATION (MMC-6 table 287).
enum class MediaEvent : std::uint8_t { none = 0, new_media = 2, removal = 3 };

// A nexus's view of one logical unit.
struct NexusUnit {
    AttentionQueue attentions;
    std::uint32_t registration = 0;  // id of its persistent reservation registration, 0 for none
    bool prevents_removal = false;   // PREVENT ALLOW MEDIUM REMOVAL
    MediaEvent media_event = MediaEvent::none;  // of a CD-ROM, not yet told
};

class Nexus {
  public:
    std::string initiator_port;
    std::uint16_t portal_group_tag = 0;
    DeviceState* device = nullptr;
    std::vector<NexusUnit> units;  // one per logical unit, `absent` included
    std::size_t tasks = 0;
};

class ThirdPartyCopy;

struct DeviceState {
    DeviceState();
    ~DeviceState();

    std::string target_name;
    std::unique_ptr<ThirdPartyCopy> third_party;  // null if the seams do not suffice
    std::vector<LogicalUnit> units;               // the last is `absent`
    std::array<std::uint16_t, 256> index_of_lun{};
    std::list<Nexus> nexuses;
    std::size_t tasks_in_flight = 0;
    DeviceSeams seams;
    bool woken = false;  // run_background is to come

    std::uint32_t absent_index() const { return static_cast<std::uint32_t>(units.size() - 1); }

    void wake() {
        if (!std::exchange(woken, true)) seams.wake();
    }

    // Whether the unit has the command at all.
    bool knows(const LogicalUnit& unit, const OpcodeRow& row) const {
        if ((row.traits & kThinOnly) != 0 && !unit.thin) return false;
        if ((row.traits & kThirdParty) != 0 && third_party == nullptr) return false;
        if ((row.traits & kAtomic) != 0 && unit.max_atomic_bytes == 0) return false;
        return (row.traits & kBackground) == 0 || seams.wake != nullptr;
    }

    // Raises an attention about one unit on every nexus but `except` (which may be null).
    void raise_attention(const LogicalUnit& unit, Attention attention, const Nexus* except) {
        const auto index = static_cast<std::size_t>(&unit - units.data());
        for (Nexus& nexus : nexuses)
            if (&nexus != except) nexus.units[index].attentions.raise(attention);
    }
};

// Tells tokens of blocks that are about to change (rod_tokens.hpp).
void revoke_tokens(LogicalUnit& unit, const disk::Request& request) noexcept;

// The way of every request to a unit's disk.
inline disk::Submit submit_to_disk(LogicalUnit& unit, disk::Request& request) noexcept {
    if (unit.rod_tokens != 0) [[unlikely]]
        revoke_tokens(unit, request);
    return unit.disk->submit(request);
}

inline LogicalUnit& unit_of(Task& task) { return task.nexus->device->units[task.logical_unit]; }
inline NexusUnit& nexus_unit_of(Task& task) { return task.nexus->units[task.logical_unit]; }
inline const OpcodeRow& row_of(const Task& task) {
    return *static_cast<const OpcodeRow*>(task.opcode);
}

}  // namespace goldlink::scsi
