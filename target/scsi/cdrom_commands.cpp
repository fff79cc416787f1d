// The commands of a CD-ROM drive (peripheral device type 05h), as a table to read beside MMC-6 and
// SPC-4. Whatever writes is not there: INVALID COMMAND OPERATION CODE.
#include "target/scsi/cdrom.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::int16_t kNone = OpcodeRow::kNoServiceAction;
constexpr std::uint8_t kAlways = kAnyLun | kPassesAttention;

// clang-format off
constexpr OpcodeRow kRows[] = {
    // opcode, service action, CDB length, under a reservation, traits, CDB usage, prepare, execute
    {0x00, kNone, 6, Under::persistent, kPlain, {}, prepare_cdrom_test_unit_ready, execute_nothing},
    {0x03, kNone, 6, Under::any, kAlways, {0, 0x01, 0, 0, 0xFF}, prepare_request_sense, execute_request_sense},
    {0x12, kNone, 6, Under::any, kAlways, {0, 0x01, 0xFF, 0xFF, 0xFF}, prepare_inquiry, execute_inquiry},
    {0x1A, kNone, 6, Under::write, kPlain, {0, 0x08, 0xFF, 0xFF, 0xFF}, prepare_cdrom_mode_sense_6, execute_cdrom_mode_sense},
    {0x1B, kNone, 6, Under::write, kPlain, {0, 0x01, 0, 0, 0xF3}, prepare_cdrom_start_stop_unit, execute_cdrom_start_stop_unit},
    {0x1E, kNone, 6, Under::persistent, kPlain, {0, 0, 0, 0, 0x03}, prepare_prevent_allow, execute_prevent_allow},
    {0x23, kNone, 10, Under::persistent, kPlain, {0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_format_capacities, execute_format_capacities},
    {0x25, kNone, 10, Under::persistent, kPlain, {0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x01}, prepare_cdrom_read_capacity, execute_read_capacity_10},
    {0x28, kNone, 10, Under::read, kPlain, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF}, prepare_cdrom_read_10, execute_read},
    {0x43, kNone, 10, Under::read, kPlain, {0, 0x02, 0x0F, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xC0}, prepare_read_toc, execute_read_toc},
    {0x46, kNone, 10, Under::any, kPassesAttention, {0, 0x03, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF}, prepare_get_configuration, execute_get_configuration},
    {0x4A, kNone, 10, Under::any, kPassesAttention, {0, 0x01, 0, 0, 0xFF, 0, 0, 0xFF, 0xFF}, prepare_event_status, execute_event_status},
    {0x51, kNone, 10, Under::read, kPlain, {0, 0x07, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_disc_information, execute_disc_information},
    {0x5A, kNone, 10, Under::write, kPlain, {0, 0x08, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF}, prepare_cdrom_mode_sense_10, execute_cdrom_mode_sense},
    {0xA0, kNone, 12, Under::any, kAlways, {0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_luns, execute_report_luns},
    {0xA3, 0x0C, 12, Under::persistent, kPlain, {0, 0x1F, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_opcodes, execute_report_opcodes},
    {0xA3, 0x0D, 12, Under::persistent, kPlain, {0, 0x1F, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_report_task_management, execute_report_task_management},
    {0xA8, kNone, 12, Under::read, kPlain, {0, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_cdrom_read_12, execute_read},
    {0xAD, kNone, 12, Under::read, kPlain, {0, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, prepare_disc_structure, execute_disc_structure},
    {0xBD, kNone, 12, Under::persistent, kPlain, {0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, prepare_mechanism_status, execute_mechanism_status},
    {0xBE, kNone, 12, Under::read, kPlain, {0, 0x1C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x07}, prepare_read_cd, execute_read},
};
// clang-format on

}  // namespace

const CommandSet& cdrom_command_set() {
    static const CommandSet set(kRows);
    return set;
}

}  // namespace goldlink::scsi
