// The commands of a disk (peripheral device type 00h), as a table to read beside SPC-4 and SBC-3.
// The CDB usage column has ones where we look at a bit.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::int16_t kNone = OpcodeRow::kNoServiceAction;
constexpr std::uint8_t kAlways = kAnyLun | kPassesAttention;

// No CRYPTOGRAPHIC ERASE (service action 03h): nothing here is encrypted, so there is no key to
// change.
constexpr std::uint8_t kSanitize = kWrites | kExclusive | kBackground;

// clang-format off
constexpr OpcodeRow kRows[] = {
    // opcode, service action, CDB length, under a reservation, traits, CDB usage, prepare, execute, advance, data-out
    {0x00, kNone, 6, Under::persistent, kPlain, {}, prepare_test_unit_ready, execute_nothing},
    {0x03, kNone, 6, Under::any, kAlways, {0, 0x01, 0, 0, 0xFF}, prepare_request_sense, execute_request_sense},
    {0x08, kNone, 6, Under::read, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF}, prepare_read<6>, execute_read},
    {0x0A, kNone, 6, Under::write, kWrites, {0, 0x1F, 0xFF, 0xFF, 0xFF}, prepare_write<6>, execute_write, nullptr, DataOut::blocks},
    {0x12, kNone, 6, Under::any, kAlways, {0, 0x01, 0xFF, 0xFF, 0xFF}, prepare_inquiry, execute_inquiry},
    {0x15, kNone, 6, Under::write, kPlain, {0, 0x11, 0, 0, 0xFF}, prepare_mode_select_6, execute_mode_select},
    {0x16, kNone, 6, Under::persistent, kPlain, {0, 0x11}, prepare_reserve_6, execute_reserve_6},
    {0x17, kNone, 6, Under::any, kPlain, {0, 0x11}, prepare_release_6, execute_release_6},
    {0x1A, kNone, 6, Under::write, kPlain, {0, 0x08, 0xFF, 0xFF, 0xFF}, prepare_mode_sense_6, execute_mode_sense},
    {0x1B, kNone, 6, Under::persistent, kPlain, {0, 0x01, 0, 0, 0xF7}, prepare_start_stop_unit, execute_steps, advance_start_stop_unit},
    {0x1E, kNone, 6, Under::persistent, kPlain, {0, 0, 0, 0, 0x03}, prepare_prevent_allow, execute_prevent_allow},
    {0x25, kNone, 10, Under::persistent, kPlain, {0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x01}, prepare_read_capacity_10, execute_read_capacity_10},
    {0x28, kNone, 10, Under::read, kPlain, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_read<10>, execute_read},
    {0x2A, kNone, 10, Under::write, kWrites, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_write<10>, execute_write, nullptr, DataOut::blocks},
    {0x2E, kNone, 10, Under::write, kWrites, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_write_and_verify<10>, execute_steps, advance_write_and_verify, DataOut::blocks},
    {0x2F, kNone, 10, Under::read, kPlain, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_verify<10>, execute_steps, advance_verify, DataOut::whole},
    {0x34, kNone, 10, Under::read, kPlain, {0, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_prefetch<10>, execute_steps, advance_prefetch},
    {0x35, kNone, 10, Under::write, kPlain, {0, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_synchronize_cache<10>, execute_synchronize_cache},
    {0x37, kNone, 10, Under::read, kPlain, {0, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_read_defect_data_10, execute_read_defect_data_10},
    {0x3B, kNone, 10, Under::write, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write_buffer, execute_write_buffer},
    {0x3C, kNone, 10, Under::read, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_read_buffer, execute_read_buffer},
    {0x41, kNone, 10, Under::write, kWrites, {0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_write_same<10>, execute_steps, advance_write_same, DataOut::exact},
    {0x42, kNone, 10, Under::write, kWrites | kThinOnly, {0, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_unmap, execute_steps, advance_unmap},
    {0x48, 0x01, 10, Under::write, kSanitize, {0, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_sanitize, execute_sanitize},
    {0x48, 0x02, 10, Under::write, kSanitize, {0, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_sanitize, execute_sanitize},
    {0x48, 0x1F, 10, Under::write, kSanitize, {0, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_exit_sanitize_failure, execute_exit_sanitize_failure},
    {0x4D, kNone, 10, Under::persistent, kPlain, {0, 0x01, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_log_sense, execute_log_sense},
    {0x55, kNone, 10, Under::write, kPlain, {0, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_mode_select_10, execute_mode_select},
    {0x5A, kNone, 10, Under::write, kPlain, {0, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF}, prepare_mode_sense_10, execute_mode_sense},
    {0x5E, 0x00, 10, Under::persistent, kPlain, {0, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_persistent_reserve_in, execute_read_keys},
    {0x5E, 0x01, 10, Under::persistent, kPlain, {0, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_persistent_reserve_in, execute_read_reservation},
    {0x5E, 0x02, 10, Under::persistent, kPlain, {0, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_persistent_reserve_in, execute_report_capabilities},
    {0x5E, 0x03, 10, Under::persistent, kPlain, {0, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_persistent_reserve_in, execute_read_full_status},
    {0x5F, 0x00, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_register},
    {0x5F, 0x01, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_reserve},
    {0x5F, 0x02, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_release},
    {0x5F, 0x03, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_clear},
    {0x5F, 0x04, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_preempt},
    {0x5F, 0x05, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_preempt_and_abort},
    {0x5F, 0x06, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_register_and_ignore_existing_key},
    {0x5F, 0x07, 10, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_persistent_reserve_out, execute_register_and_move},
    {0x83, 0x00, 16, Under::write, kThirdParty, {0, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_extended_copy, execute_extended_copy},
    {0x83, 0x10, 16, Under::read, kThirdParty, {0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_token_command, execute_populate_token},
    {0x83, 0x11, 16, Under::write, kThirdParty | kWrites, {0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_token_command, execute_write_using_token},
    {0x84, 0x00, 16, Under::write, kThirdParty, {0, 0x1F, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_copy_in, execute_copy_status},
    {0x84, 0x03, 16, Under::write, kThirdParty, {0, 0x1F, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_copy_in, execute_copy_operating_parameters},
    {0x84, 0x04, 16, Under::write, kThirdParty, {0, 0x1F, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_copy_in, execute_copy_failure_details},
    {0x84, 0x07, 16, Under::write, kThirdParty, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_copy_in, execute_rod_token_information},
    {0x88, kNone, 16, Under::read, kPlain, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_read<16>, execute_read},
    {0x89, kNone, 16, Under::write, kWrites | kExclusive, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF}, prepare_compare_and_write, execute_steps, advance_compare_and_write, DataOut::counted},
    {0x8A, kNone, 16, Under::write, kWrites, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write<16>, execute_write, nullptr, DataOut::blocks},
    {0x8B, kNone, 16, Under::write, kWrites | kExclusive, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_orwrite, execute_steps, advance_orwrite, DataOut::blocks},
    {0x8E, kNone, 16, Under::write, kWrites, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write_and_verify<16>, execute_steps, advance_write_and_verify, DataOut::blocks},
    {0x8F, kNone, 16, Under::read, kPlain, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_verify<16>, execute_steps, advance_verify, DataOut::whole},
    {0x90, kNone, 16, Under::read, kPlain, {0, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_prefetch<16>, execute_steps, advance_prefetch},
    {0x91, kNone, 16, Under::write, kPlain, {0, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_synchronize_cache<16>, execute_synchronize_cache},
    {0x93, kNone, 16, Under::write, kWrites, {0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write_same<16>, execute_steps, advance_write_same, DataOut::exact},
    {0x9C, kNone, 16, Under::write, kWrites | kExclusive | kAtomic, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write_atomic, execute_steps, advance_write_atomic, DataOut::whole},
    {0x9E, 0x10, 16, Under::persistent, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, prepare_read_capacity_16, execute_read_capacity_16},
    {0x9E, 0x12, 16, Under::read, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_get_lba_status, execute_get_lba_status},
    {0xA0, kNone, 12, Under::any, kAlways, {0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_luns, execute_report_luns},
    {0xA3, 0x0C, 12, Under::persistent, kPlain, {0, 0x1F, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_opcodes, execute_report_opcodes},
    {0xA3, 0x0D, 12, Under::persistent, kPlain, {0, 0x1F, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_task_management, execute_report_task_management},
    {0xA8, kNone, 12, Under::read, kPlain, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_read<12>, execute_read},
    {0xAA, kNone, 12, Under::write, kWrites, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write<12>, execute_write, nullptr, DataOut::blocks},
    {0xAE, kNone, 12, Under::write, kWrites, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_write_and_verify<12>, execute_steps, advance_write_and_verify, DataOut::blocks},
    {0xAF, kNone, 12, Under::read, kPlain, {0, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_verify<12>, execute_steps, advance_verify, DataOut::whole},
    {0xB7, kNone, 12, Under::read, kPlain, {0, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_read_defect_data_12, execute_read_defect_data_12},
};
// clang-format on

}  // namespace

const CommandSet& disk_command_set() {
    static const CommandSet set(kRows);
    return set;
}

}  // namespace goldlink::scsi
