// COMPARE AND WRITE and ORWRITE (SBC-3 5.2, 5.1): read, look, write. Their rows are kExclusive, so
// the task set lets no other command touch the blocks in between.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kFua = 0x08;

bool writes_through(const LogicalUnit& unit, const Task& task) {
    return (task.cdb[1] & kFua) != 0 || !unit.mode.write_cache_enabled();
}

}  // namespace

Step prepare_compare_and_write(LogicalUnit& unit, Task& task) noexcept {
    if (asks_for_protection(task)) return fail_cdb_field(task, 1);
    const BlockRange range{load_be64(&task.cdb[2]), task.cdb[13], 2, 13};
    const std::uint64_t max_bytes = std::uint64_t{unit.max_compare_and_write_blocks()}
                                    << unit.block_shift;
    if (check_range(unit, task, range, max_bytes) == Step::finished) return Step::finished;
    task.data_out_length = 2 * (task.block_count << unit.block_shift);
    task.request.fua = writes_through(unit, task);
    return Step::pending;
}

Next advance_compare_and_write(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kStart, kReading, kWriting };
    const std::uint64_t length = std::uint64_t{task.block_count} << unit.block_shift;
    switch (task.scratch[kStage]) {
        case kStart:
            if (length == 0) return Next::finished;
            task.scratch[kStage] = kReading;
            return submit_at_position(unit, task, disk::Operation::read, work_of(unit, task),
                                      length);
        case kReading: {
            const std::uint8_t* read = task.request.data;
            const auto [expected, found] = std::mismatch(task.buffer, task.buffer + length, read);
            if (found != read + length) {
                Sense sense = sense::kMiscompare;
                sense.has_information = true;  // offset of the first different byte
                sense.information = static_cast<std::uint64_t>(expected - task.buffer);
                return fail_step(task, sense);
            }
            task.scratch[kStage] = kWriting;
            return submit_at_position(unit, task, disk::Operation::write, task.buffer + length,
                                      length);
        }
        default:
            return Next::finished;
    }
}

Step prepare_orwrite(LogicalUnit& unit, Task& task) noexcept {
    if (asks_for_protection(task)) return fail_cdb_field(task, 1);
    if (check_range(unit, task, block_range<16>(task), kMaxTransferBytes) == Step::finished)
        return Step::finished;
    task.data_out_length = task.block_count << unit.block_shift;
    task.request.fua = writes_through(unit, task);
    return Step::pending;
}

Next advance_orwrite(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kReadNext, kReading, kWriting };
    const std::uint64_t end = std::uint64_t{task.block_count} << unit.block_shift;
    if (task.scratch[kStage] == kReading) {
        std::uint8_t* merged = task.request.data;
        const std::uint8_t* data_out = task.buffer + task.scratch[kPosition];
        for (std::uint64_t i = 0; i < task.scratch[kLast]; ++i) merged[i] |= data_out[i];
        task.scratch[kStage] = kWriting;
        return submit_at_position(unit, task, disk::Operation::write, merged, task.scratch[kLast]);
    }
    if (task.scratch[kStage] == kWriting) task.scratch[kPosition] += task.scratch[kLast];
    if (task.scratch[kPosition] == end) return Next::finished;
    task.scratch[kStage] = kReading;
    return submit_at_position(unit, task, disk::Operation::read, work_of(unit, task),
                              std::min<std::uint64_t>(end - task.scratch[kPosition], kWorkBytes));
}

}  // namespace goldlink::scsi
