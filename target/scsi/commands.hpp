// The functions the opcode table names. Each runs on the link's reactor with a row's checks done.
#pragma once

#include "common/bytes.hpp"
#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

// Where a command keeps its LBA and length (SPC-4 4.3), by CDB length.
struct BlockRange {
    std::uint64_t lba = 0;
    std::uint32_t count = 0;
    std::uint8_t lba_byte = 0;
    std::uint8_t count_byte = 0;
};

template <unsigned CdbLength>
BlockRange block_range(const Task& task) {
    const std::uint8_t* cdb = task.cdb.data();
    if constexpr (CdbLength == 6) {
        // Zero means 256 blocks, and the top three bits of byte 1 are an old LUN field (SBC-3 5.7).
        return {load_be24(cdb + 1) & 0x1FFFFF, cdb[4] == 0 ? 256u : cdb[4], 1, 4};
    } else if constexpr (CdbLength == 10) {
        return {load_be32(cdb + 2), load_be16(cdb + 7), 2, 7};
    } else if constexpr (CdbLength == 12) {
        return {load_be32(cdb + 2), load_be32(cdb + 6), 2, 6};
    } else {
        static_assert(CdbLength == 16);
        return {load_be64(cdb + 2), load_be32(cdb + 10), 2, 10};
    }
}

// Checks a range against the unit's end and the transfer limit, and notes it in the task. LBA equal
// to the capacity is out of range even for zero blocks.
inline Step check_range(const LogicalUnit& unit, Task& task, const BlockRange& range,
                        std::uint64_t max_bytes) {
    if (range.lba >= unit.block_count || range.count > unit.block_count - range.lba) [[unlikely]]
        return fail(task, sense::kLbaOutOfRange);
    if ((std::uint64_t{range.count} << unit.block_shift) > max_bytes) [[unlikely]]
        return fail_cdb_field(task, range.count_byte);
    task.lba = range.lba;
    task.block_count = range.count;
    return Step::pending;
}

// RDPROTECT, WRPROTECT, VRPROTECT: no protection information here (SBC-3 4.22), so zero only.
inline bool asks_for_protection(const Task& task) { return (task.cdb[1] & 0xE0) != 0; }

class ParameterData;

using CommandFunction = Step(LogicalUnit&, Task&) noexcept;
using AdvanceFunction = Next(LogicalUnit&, Task&) noexcept;

// primary_commands.cpp (SPC-4)
CommandFunction prepare_test_unit_ready, execute_nothing;
CommandFunction prepare_request_sense, execute_request_sense;
CommandFunction prepare_report_luns, execute_report_luns;

// medium_state.cpp (SBC-3 5.20, SPC-4 6.14)
CommandFunction prepare_start_stop_unit, prepare_prevent_allow, execute_prevent_allow;
AdvanceFunction advance_start_stop_unit;

// log_sense.cpp, buffer_commands.cpp (SPC-4)
CommandFunction prepare_log_sense, execute_log_sense;
CommandFunction prepare_write_buffer, execute_write_buffer, prepare_read_buffer,
    execute_read_buffer;

// inquiry.cpp, vital_product_data.cpp
CommandFunction prepare_inquiry, execute_inquiry;
Step vital_product_data(LogicalUnit& unit, Task& task, std::uint8_t page);
// third_party_copy_page.cpp: the page's content, for devices that copy
void third_party_copy_page(LogicalUnit& unit, const Task& task, ParameterData& data);

// mode_commands.cpp
CommandFunction prepare_mode_sense_6, prepare_mode_sense_10, execute_mode_sense;
CommandFunction prepare_mode_select_6, prepare_mode_select_10, execute_mode_select;

// report_commands.cpp
CommandFunction prepare_report_opcodes, execute_report_opcodes;
CommandFunction prepare_report_task_management, execute_report_task_management;

// capacity.cpp (SBC-3)
CommandFunction prepare_read_capacity_10, execute_read_capacity_10;
CommandFunction prepare_read_capacity_16, execute_read_capacity_16;
CommandFunction prepare_get_lba_status, execute_get_lba_status;

// read_write.cpp
template <unsigned CdbLength>
Step prepare_read(LogicalUnit& unit, Task& task) noexcept;
template <unsigned CdbLength>
Step prepare_write(LogicalUnit& unit, Task& task) noexcept;
CommandFunction execute_read, execute_write;
template <unsigned CdbLength>
Step prepare_synchronize_cache(LogicalUnit& unit, Task& task) noexcept;
CommandFunction execute_synchronize_cache;

// verify.cpp
template <unsigned CdbLength>
Step prepare_verify(LogicalUnit& unit, Task& task) noexcept;
template <unsigned CdbLength>
Step prepare_write_and_verify(LogicalUnit& unit, Task& task) noexcept;
template <unsigned CdbLength>
Step prepare_prefetch(LogicalUnit& unit, Task& task) noexcept;
AdvanceFunction advance_verify, advance_write_and_verify, advance_prefetch;

// unmap.cpp
CommandFunction prepare_unmap;
AdvanceFunction advance_unmap;
template <unsigned CdbLength>
Step prepare_write_same(LogicalUnit& unit, Task& task) noexcept;
AdvanceFunction advance_write_same;

// compare_and_write.cpp
CommandFunction prepare_compare_and_write, prepare_orwrite;
AdvanceFunction advance_compare_and_write, advance_orwrite;

// sanitize.cpp
CommandFunction prepare_sanitize, execute_sanitize, prepare_exit_sanitize_failure,
    execute_exit_sanitize_failure;

// write_atomic.cpp (SBC-4)
CommandFunction prepare_write_atomic;
AdvanceFunction advance_write_atomic;

// read_defect_data.cpp
CommandFunction prepare_read_defect_data_10, execute_read_defect_data_10,
    prepare_read_defect_data_12, execute_read_defect_data_12;

// extended_copy.cpp, receive_copy_results.cpp (SPC-4)
CommandFunction prepare_extended_copy, execute_extended_copy;
CommandFunction prepare_copy_in, execute_copy_status, execute_copy_operating_parameters,
    execute_copy_failure_details;

// populate_token.cpp, write_using_token.cpp, rod_token_information.cpp
CommandFunction prepare_token_command, execute_populate_token, execute_write_using_token,
    execute_rod_token_information;

// reserve_commands.cpp
CommandFunction prepare_reserve_6, execute_reserve_6, prepare_release_6, execute_release_6;
CommandFunction prepare_persistent_reserve_in, execute_read_keys, execute_read_reservation,
    execute_report_capabilities, execute_read_full_status;

// persistent_reserve_out.cpp
CommandFunction prepare_persistent_reserve_out, execute_register, execute_reserve, execute_release,
    execute_clear, execute_preempt, execute_preempt_and_abort,
    execute_register_and_ignore_existing_key, execute_register_and_move;

}  // namespace goldlink::scsi
