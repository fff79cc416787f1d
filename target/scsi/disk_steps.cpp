#include "target/scsi/disk_steps.hpp"

#include <bit>

#include "target/scsi/task_set.hpp"

namespace goldlink::scsi {

namespace {

// Runs until the command is finished or the disk answers later.
Step run_steps(LogicalUnit& unit, Task& task) noexcept {
    const auto advance = row_of(task).advance;
    for (;;) {
        if (task.aborted || advance(unit, task) == Next::finished) return Step::finished;
        if (submit_to_disk(unit, task.request) == disk::Submit::pending) return Step::pending;
        if (task.request.outcome != disk::Outcome::ok)
            return fail(task, sense_of(task.request.outcome));
    }
}

}  // namespace

Step execute_steps(LogicalUnit& unit, Task& task) noexcept {
    task.request.complete = &on_disk_request_complete;
    task.request.owner = &task;
    return run_steps(unit, task);
}

std::uint8_t* work_of(LogicalUnit& unit, Task& task) {
    if (task.scratch[kWork] == 0) {
        if (unit.spare_work.empty()) unit.spare_work.push_back(std::make_unique<WorkBuffer>());
        task.scratch[kWork] = std::bit_cast<std::uint64_t>(unit.spare_work.back().release());
        unit.spare_work.pop_back();
    }
    return std::bit_cast<WorkBuffer*>(task.scratch[kWork])->data();
}

void release_work(LogicalUnit& unit, Task& task) {
    constexpr std::size_t kSpares = 4;
    if (task.scratch[kWork] == 0) return;
    std::unique_ptr<WorkBuffer> work(std::bit_cast<WorkBuffer*>(task.scratch[kWork]));
    task.scratch[kWork] = 0;
    if (unit.spare_work.size() < kSpares) unit.spare_work.push_back(std::move(work));
}

Next submit_at_position(LogicalUnit& unit, Task& task, disk::Operation operation,
                        std::uint8_t* data, std::uint64_t length_bytes) {
    task.request.operation = operation;
    task.request.offset_bytes = (task.lba << unit.block_shift) + task.scratch[kPosition];
    task.request.length_bytes = length_bytes;
    task.request.data = data;
    task.scratch[kLast] = length_bytes;
    return Next::submit;
}

void on_disk_request_complete(disk::Request& request) noexcept {
    Task& task = *static_cast<Task*>(request.owner);
    LogicalUnit& unit = unit_of(task);
    if (request.outcome != disk::Outcome::ok) {
        fail(task, sense_of(request.outcome));
    } else if (row_of(task).advance != nullptr && run_steps(unit, task) == Step::pending) {
        return;
    }
    leave_task_set(unit, task);
    task.complete(task);
}

}  // namespace goldlink::scsi
