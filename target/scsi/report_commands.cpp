// REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
// (SPC-4 6.35, 6.36).
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

enum class ReportingOptions : std::uint8_t { all = 0, opcode = 1, service_action = 2, either = 3 };

constexpr std::uint8_t kTimeoutDescriptors = 0x80;   // RCTD
constexpr std::uint8_t kTimeoutsPresent = 0x80;      // CTDP of one command
constexpr std::uint8_t kTimeoutPresentInAll = 0x02;  // CTDP of the list
constexpr std::uint8_t kServiceActionValid = 0x01;

// SPC-4 6.35.4; zero: we state no timeouts.
void timeouts_descriptor(ParameterData& data) {
    data.be16(10);
    data.zeroes(10);
}

std::uint16_t service_action_of(const OpcodeRow& row) {
    return row.service_action == OpcodeRow::kNoServiceAction
               ? std::uint16_t{0}
               : static_cast<std::uint16_t>(row.service_action);
}

bool is_known(const LogicalUnit& unit, const OpcodeRow& row) {
    return unit.absent || unit.device->knows(unit, row);
}

void all_commands(const LogicalUnit& unit, bool timeouts, ParameterData& data) {
    data.be32(0);
    for (const OpcodeRow& row : unit.commands->rows()) {
        if (!is_known(unit, row)) continue;
        const bool has_action = row.service_action != OpcodeRow::kNoServiceAction;
        data.u8(row.opcode);
        data.u8(0);
        data.be16(service_action_of(row));
        data.u8(0);
        data.u8(static_cast<std::uint8_t>((timeouts ? kTimeoutPresentInAll : 0) |
                                          (has_action ? kServiceActionValid : 0)));
        data.be16(row.cdb_length);
        if (timeouts) timeouts_descriptor(data);
    }
    data.patch_be32(0, data.size() - 4);
}

void one_command(const OpcodeRow* row, bool timeouts, ParameterData& data) {
    constexpr std::uint8_t kNotSupported = 0x01;
    constexpr std::uint8_t kAsInStandard = 0x03;
    data.u8(0);
    if (row == nullptr) {
        data.u8(kNotSupported);
        data.be16(0);
        return;
    }
    data.u8(static_cast<std::uint8_t>(kAsInStandard | (timeouts ? kTimeoutsPresent : 0)));
    data.be16(row->cdb_length);
    std::array<std::uint8_t, 16> usage = row->usage;
    usage[0] = row->opcode;
    if (row->service_action != OpcodeRow::kNoServiceAction)
        usage[1] = static_cast<std::uint8_t>((usage[1] & 0xE0) | row->service_action);
    data.bytes(std::span(usage).first(row->cdb_length));
    if (timeouts) timeouts_descriptor(data);
}

const OpcodeRow* requested_row(const LogicalUnit& unit, const Task& task) {
    const std::uint8_t opcode = task.cdb[3];
    const std::uint16_t action = load_be16(&task.cdb[4]);
    for (const OpcodeRow& row : unit.commands->rows_of(opcode))
        if (is_known(unit, row) && service_action_of(row) == action) return &row;
    return nullptr;
}

}  // namespace

Step prepare_report_opcodes(LogicalUnit& unit, Task& task) noexcept {
    const auto options = static_cast<ReportingOptions>(task.cdb[2] & 0x07);
    const auto rows = unit.commands->rows_of(task.cdb[3]);
    const bool by_action = unit.commands->has_service_actions(task.cdb[3]);
    const bool known_opcode = !rows.empty() && is_known(unit, rows.front());
    if (options > ReportingOptions::either) return fail_cdb_field(task, 2);
    if (known_opcode && ((options == ReportingOptions::opcode && by_action) ||
                         (options == ReportingOptions::service_action && !by_action)))
        return fail_cdb_field(task, 2);
    return grant_parameter_data(task, load_be32(&task.cdb[6]));
}

Step execute_report_opcodes(LogicalUnit& unit, Task& task) noexcept {
    const auto options = static_cast<ReportingOptions>(task.cdb[2] & 0x07);
    const bool timeouts = (task.cdb[2] & kTimeoutDescriptors) != 0;
    ParameterData data(task);
    if (options == ReportingOptions::all) {
        all_commands(unit, timeouts, data);
    } else if (options == ReportingOptions::opcode) {
        const auto rows = unit.commands->rows_of(task.cdb[3]);
        one_command(!rows.empty() && is_known(unit, rows[0]) ? &rows[0] : nullptr, timeouts, data);
    } else {
        one_command(requested_row(unit, task), timeouts, data);
    }
    return data.finish();
}

Step prepare_report_task_management(LogicalUnit&, Task& task) noexcept {
    const std::uint32_t allocation_length = load_be32(&task.cdb[6]);
    if (allocation_length < 4) return fail_cdb_field(task, 6);
    return grant_parameter_data(task, allocation_length);
}

Step execute_report_task_management(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kExtended = 0x80;  // REPD
    // ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.
    constexpr std::uint8_t kFunctions = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;
    ParameterData data(task);
    data.u8(kFunctions);
    data.zeroes(2);
    const bool extended = (task.cdb[2] & kExtended) != 0;
    data.u8(extended ? 12 : 0);
    if (extended) data.zeroes(12);
    return data.finish();
}

}  // namespace goldlink::scsi
