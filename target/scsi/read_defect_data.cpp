// READ DEFECT DATA (10) and (12) (SBC-3 5.16, 5.17): there is no medium of ours with defects, so
// both lists are there, in whatever format is asked for, and empty.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kListsAndFormat = 0x1F;  // REQ_PLIST, REQ_GLIST, DEFECT LIST FORMAT
constexpr std::uint8_t kFormat = 0x07;

// SBC-3 6.2.1: 000b, 001b, 010b, 011b, 100b, 101b and the vendor's 110b; 111b is reserved.
bool is_format(std::uint8_t lists_and_format) { return (lists_and_format & kFormat) != 0x07; }

}  // namespace

Step prepare_read_defect_data_10(LogicalUnit&, Task& task) noexcept {
    if (!is_format(task.cdb[2])) return fail_cdb_field(task, 2);
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_read_defect_data_10(LogicalUnit&, Task& task) noexcept {
    ParameterData data(task);
    data.u8(0);
    data.u8(task.cdb[2] & kListsAndFormat);  // PLISTV, GLISTV, DEFECT LIST FORMAT
    data.be16(0);                            // DEFECT LIST LENGTH
    return data.finish();
}

Step prepare_read_defect_data_12(LogicalUnit&, Task& task) noexcept {
    if (!is_format(task.cdb[1])) return fail_cdb_field(task, 1);
    return grant_parameter_data(task, load_be32(&task.cdb[6]));
}

Step execute_read_defect_data_12(LogicalUnit&, Task& task) noexcept {
    ParameterData data(task);
    data.u8(0);
    data.u8(task.cdb[1] & kListsAndFormat);
    data.be16(0);  // GENERATION CODE: not supported, the list never changes
    data.be32(0);
    return data.finish();
}

}  // namespace goldlink::scsi
