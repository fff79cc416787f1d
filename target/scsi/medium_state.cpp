#include "target/scsi/medium_state.hpp"

#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kStart = 0x01;
constexpr std::uint8_t kLoadEject = 0x02;  // LOEJ
constexpr std::uint8_t kNoFlush = 0x04;
constexpr std::uint8_t kPowerCondition = 0xF0;
constexpr std::uint8_t kPrevent = 0x01;
constexpr std::uint8_t kObsoletePrevent = 0x02;

// Commands that ask nothing of the medium: a stopped or empty unit has them.
constexpr std::uint8_t kWithoutMedium[] = {
    0x15,  // MODE SELECT (6)
    0x16,  // RESERVE (6)
    0x17,  // RELEASE (6)
    0x1A,  // MODE SENSE (6)
    0x1B,  // START STOP UNIT
    0x1E,  // PREVENT ALLOW MEDIUM REMOVAL
    0x3B,  // WRITE BUFFER
    0x3C,  // READ BUFFER
    0x4D,  // LOG SENSE
    0x55,  // MODE SELECT (10)
    0x5A,  // MODE SENSE (10)
    0x5E,  // PERSISTENT RESERVE IN
    0x5F,  // PERSISTENT RESERVE OUT
    0x84,  // RECEIVE COPY RESULTS, RECEIVE ROD TOKEN INFORMATION
    0xA3,  // REPORT SUPPORTED OPERATION CODES and the like
};

bool sanitizes(const LogicalUnit& unit) { return unit.sanitize.state != Sanitize::State::idle; }

// What only those may do who may write (SPC-4 5.12.1): stop, and prevent removal.
bool reserved_for_another(const LogicalUnit& unit, Task& task) {
    return unit.reservations.held() &&
           unit.reservations.conflicts(*task.nexus, nexus_unit_of(task).registration, Under::write);
}

void start_or_stop(LogicalUnit& unit, const Task& task) {
    const std::uint8_t flags = task.cdb[4];
    const bool starts = (flags & kStart) != 0;
    unit.stopped = !starts;
    if ((flags & kLoadEject) != 0) {
        if (unit.ejected && starts)
            unit.device->raise_attention(unit, attention::kMediumMayHaveChanged, task.nexus);
        unit.ejected = !starts;
    }
    update_restricted(unit);
}

}  // namespace

bool removal_is_prevented(const LogicalUnit& unit) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    return std::ranges::any_of(unit.device->nexuses, [&](const Nexus& nexus) {
        return nexus.units[index].prevents_removal;
    });
}

// A CD-ROM's commands look for the disc themselves (check_disc): many answer without one.
void update_restricted(LogicalUnit& unit) {
    const bool empty = unit.ejected && unit.type == DeviceType::disk;
    unit.restricted = unit.stopped || empty || sanitizes(unit);
}

Sense restriction_of(const LogicalUnit& unit) {
    if (sanitizes(unit)) return sanitize_sense(unit);
    return unit.ejected ? sense::kMediumNotPresent : sense::kStartRequired;
}

Step refuse_restricted(const LogicalUnit& unit, Task& task) {
    const OpcodeRow& row = row_of(task);
    if ((row.traits & kPassesAttention) != 0) return Step::pending;
    const bool may_try_again =
        unit.sanitize.state == Sanitize::State::failed && (row.traits & kBackground) != 0;
    if (may_try_again) return Step::pending;
    if (!sanitizes(unit) &&
        std::ranges::find(kWithoutMedium, row.opcode) != std::end(kWithoutMedium))
        return Step::pending;
    return fail(task, restriction_of(unit));
}

void start_for_login(LogicalUnit& unit) {
    unit.stopped = false;
    update_restricted(unit);
}

void close_trays(DeviceState& device) {
    for (LogicalUnit& unit : device.units)
        if (unit.type == DeviceType::cdrom) unit.ejected = false;
}

// An ejected medium does not come back by itself.
void reset_medium_state(LogicalUnit& unit) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses) nexus.units[index].prevents_removal = false;
    unit.stopped = false;
    update_restricted(unit);
}

Step prepare_start_stop_unit(LogicalUnit& unit, Task& task) noexcept {
    const std::uint8_t flags = task.cdb[4];
    const bool loads_or_ejects = (flags & kLoadEject) != 0;
    if ((flags & kPowerCondition) != 0 || (loads_or_ejects && !unit.removable))
        return fail_cdb_field(task, 4);
    const bool stops = (flags & kStart) == 0;
    if (stops && reserved_for_another(unit, task))
        return fail_status(task, Status::reservation_conflict);
    if (stops && loads_or_ejects && removal_is_prevented(unit))
        return fail(task, sense::kMediumRemovalPrevented);
    return Step::pending;
}

// Before the unit stops what was written is made durable, unless NO_FLUSH. IMMED allows an answer
// ahead of that and does not ask for it.
Next advance_start_stop_unit(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kBegin, kFlushing };
    const bool stops = (task.cdb[4] & kStart) == 0;
    if (stops && (task.cdb[4] & kNoFlush) == 0 && task.scratch[kStage] == kBegin) {
        task.scratch[kStage] = kFlushing;
        task.request.fua = false;
        return submit_at_position(unit, task, disk::Operation::flush, nullptr, 0);
    }
    start_or_stop(unit, task);
    return Next::finished;
}

// On a medium that cannot be removed preventing it is granted and means nothing.
Step prepare_prevent_allow(LogicalUnit& unit, Task& task) noexcept {
    if ((task.cdb[4] & kObsoletePrevent) != 0) return fail_cdb_field(task, 4);
    if ((task.cdb[4] & kPrevent) != 0 && reserved_for_another(unit, task))
        return fail_status(task, Status::reservation_conflict);
    return Step::pending;
}

Step execute_prevent_allow(LogicalUnit&, Task& task) noexcept {
    nexus_unit_of(task).prevents_removal = (task.cdb[4] & kPrevent) != 0;
    return Step::finished;
}

}  // namespace goldlink::scsi
