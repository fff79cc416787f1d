// WRITE ATOMIC (16) (SBC-4 5.48): the write is done as a whole or not at all, for every other
// command and after a power loss (4.29). That is the disk's doing, in one request; the row is
// kExclusive, so commands of several requests do not see half of it either.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

Step prepare_write_atomic(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kFua = 0x08;
    constexpr std::uint16_t kBoundaryAt = 10, kLengthAt = 12;
    if (asks_for_protection(task)) return fail_cdb_field(task, 1);
    // MAXIMUM ATOMIC BOUNDARY SIZE is zero: a write is not atomic in parts.
    if (load_be16(&task.cdb[kBoundaryAt]) != 0) return fail_cdb_field(task, kBoundaryAt);
    const BlockRange range{load_be64(&task.cdb[2]), load_be16(&task.cdb[kLengthAt]), 2, kLengthAt};
    if (check_range(unit, task, range, unit.max_atomic_bytes) == Step::finished)
        return Step::finished;
    task.data_out_length = task.block_count << unit.block_shift;
    task.request.fua = (task.cdb[1] & kFua) != 0 || !unit.mode.write_cache_enabled();
    task.request.atomic = true;
    return Step::pending;
}

Next advance_write_atomic(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kStart, kWriting };
    if (task.scratch[kStage] == kWriting || task.block_count == 0) return Next::finished;
    task.scratch[kStage] = kWriting;
    return submit_at_position(unit, task, disk::Operation::write, task.buffer,
                              std::uint64_t{task.block_count} << unit.block_shift);
}

}  // namespace goldlink::scsi
