// TEST UNIT READY, REQUEST SENSE, REPORT LUNS.
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

}  // namespace goldlink::scsi
