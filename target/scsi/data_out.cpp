#include "target/scsi/data_out.hpp"

#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

namespace {

// What was announced in whole blocks is written and the rest of the range keeps what it had: no
// block announced, none written, as initiators and libiscsi's tests expect. Part of a block cannot
// be written, and data that goes the other way is not what was meant.
Step settle_blocks(const LogicalUnit& unit, Task& task) {
    const bool announced_as_data_in = task.offered_out == 0 && task.offered_in > 0;
    if (announced_as_data_in || task.offered_out % unit.block_bytes() != 0)
        return fail(task, sense::kInvalidFieldInCommandInformationUnit);
    task.block_count = task.offered_out >> unit.block_shift;
    return Step::pending;
}

}  // namespace

Step settle_data_out(const LogicalUnit& unit, Task& task, const OpcodeRow& row) {
    constexpr std::uint16_t kNumberOfLogicalBlocks = 13;  // a byte, which 256 blocks do not fit
    const bool exact = row.data_out == DataOut::exact || row.data_out == DataOut::counted;
    if (task.offered_out > task.data_out_length && !exact)
        return Step::pending;  // the rest is not asked for
    switch (row.data_out) {
        case DataOut::list:
            return fail(task, sense::kParameterListLengthError);
        case DataOut::blocks:
            return settle_blocks(unit, task);
        case DataOut::counted:
            return fail_cdb_field(task, kNumberOfLogicalBlocks);
        case DataOut::whole:
        case DataOut::exact:
            break;
    }
    return fail(task, sense::kInvalidFieldInCommandInformationUnit);
}

}  // namespace goldlink::scsi
