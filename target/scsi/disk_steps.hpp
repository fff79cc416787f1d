// Commands of several disk requests (VERIFY, WRITE SAME, UNMAP, COMPARE AND WRITE ...). Their row
// has an `advance` function, called at the start and after each request that went well: it fills
// task.request and says submit, or sets the result and says finished. Its state is in task.scratch.
#pragma once

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

// What the words of task.scratch are for; all zero at the start.
enum ScratchWord : std::size_t {
    kPosition = 0,  // bytes or descriptors done
    kStage = 1,     // the command's own
    kLast = 2,      // length of the request in flight
    kWork = 3,      // the WorkBuffer, once asked for
};

// `execute` of every row that has `advance`.
Step execute_steps(LogicalUnit& unit, Task& task) noexcept;

// The task's working memory, kWorkBytes long, its own until it leaves the task set.
std::uint8_t* work_of(LogicalUnit& unit, Task& task);

// Fills task.request for the task's LBA plus kPosition; data may be null for unmap and flush.
Next submit_at_position(LogicalUnit& unit, Task& task, disk::Operation operation,
                        std::uint8_t* data, std::uint64_t length_bytes);

// Ends a step function with a failure.
inline Next fail_step(Task& task, const Sense& sense) {
    fail(task, sense);
    return Next::finished;
}

// Called by the disk when a request of any command ends later.
void on_disk_request_complete(disk::Request& request) noexcept;

}  // namespace goldlink::scsi
