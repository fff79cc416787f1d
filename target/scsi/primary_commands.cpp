// TEST UNIT READY, REQUEST SENSE, REPORT LUNS, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

Step prepare_test_unit_ready(LogicalUnit&, Task&) noexcept { return Step::pending; }

// For commands that ask for nothing but to be accepted.
Step execute_nothing(LogicalUnit&, Task&) noexcept { return Step::finished; }

Step prepare_request_sense(LogicalUnit&, Task& task) noexcept {
    return grant_parameter_data(task, task.cdb[4]);
}

// SPC-4 6.39: a pending unit attention is returned as data and with that cleared. There is no
// deferred error to report: errors arrive with the command they belong to.
Step execute_request_sense(LogicalUnit& unit, Task& task) noexcept {
    Sense sense = unit.absent ? sense::kLogicalUnitNotSupported : sense::kNoSense;
    AttentionQueue& attentions = nexus_unit_of(task).attentions;
    if (!attentions.empty()) {
        const Attention attention = attentions.take();
        sense = sense::make(0x6, attention.asc, attention.ascq);
    } else if (unit.restricted) {
        sense = restriction_of(unit);
    }
    const bool descriptor = (task.cdb[1] & 0x01) != 0;  // DESC
    std::array<std::uint8_t, 64> raw{};
    const std::size_t length = encode_sense(sense, descriptor, raw);
    ParameterData data(task);
    data.bytes(std::span(raw).first(length));
    return data.finish();
}

Step prepare_report_luns(LogicalUnit&, Task& task) noexcept {
    if (task.cdb[2] > 0x02) return fail_cdb_field(task, 2);  // SELECT REPORT
    const std::uint32_t allocation_length = load_be32(&task.cdb[6]);
    // SPC-4 6.33: less than one entry's worth is an error.
    if (allocation_length < 16) return fail_cdb_field(task, 6);
    return grant_parameter_data(task, allocation_length);
}

Step execute_report_luns(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kWellKnownOnly = 0x01;
    DeviceState& device = *task.nexus->device;
    ParameterData data(task);
    data.be32(0);
    data.be32(0);
    if (task.cdb[2] != kWellKnownOnly) {
        for (std::size_t lun = 0; lun < device.index_of_lun.size(); ++lun)
            if (device.index_of_lun[lun] != device.absent_index())
                data.be64(std::uint64_t{lun} << 48);  // peripheral device addressing
    }
    data.patch_be32(0, data.size() - 8);
    for (NexusUnit& each : task.nexus->units)
        each.attentions.drop(attention::kReportedLunsDataChanged);
    return data.finish();
}

// SBC-3 5.20. Nothing here spins, so starting and stopping have no effect; a unit that
// Windows stopped at shutdown must still be there for iPXE, which never sends START.
Step prepare_start_stop_unit(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kPowerCondition = 0xF0;
    constexpr std::uint8_t kLoadEject = 0x02;
    constexpr std::uint8_t kStart = 0x01;
    const std::uint8_t flags = task.cdb[4];
    if ((flags & kPowerCondition) != 0 || (flags & kLoadEject) != 0) return fail_cdb_field(task, 4);
    const bool stops = (flags & kStart) == 0;
    if (stops && unit.reservations.held() &&
        unit.reservations.conflicts(*task.nexus, nexus_unit_of(task).registration, Under::write))
        return fail_status(task, Status::reservation_conflict);
    return Step::pending;
}

// SPC-4 6.14 on a medium that cannot be removed: preventing it is granted and means nothing.
Step prepare_prevent_allow(LogicalUnit&, Task& task) noexcept {
    if ((task.cdb[4] & 0x02) != 0) return fail_cdb_field(task, 4);  // obsolete values of PREVENT
    return Step::pending;
}

}  // namespace goldlink::scsi
