#include "target/scsi/task_set.hpp"

#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

// What is answered in every state of the unit does not wait for SANITIZE either.
bool sanitizes(const Task& task) { return (row_of(task).traits & kBackground) != 0; }
bool is_always_answered(const Task& task) { return (row_of(task).traits & kPassesAttention) != 0; }

bool touches_same_blocks(const Task& a, const Task& b) {
    if (sanitizes(a)) return !is_always_answered(b);
    if (sanitizes(b)) return !is_always_answered(a);
    // UNMAP names its blocks in its data, so until it ends it counts as touching all.
    constexpr std::uint8_t kUnmap = 0x42;
    if (a.cdb[0] == kUnmap || b.cdb[0] == kUnmap) return true;
    return a.lba < b.lba + b.block_count && b.lba < a.lba + a.block_count;
}

bool is_exclusive(const Task& task) { return (row_of(task).traits & kExclusive) != 0; }

ByteRange bytes_of(const LogicalUnit& unit, const Task& task) {
    return {task.lba << unit.block_shift, std::uint64_t{task.block_count} << unit.block_shift};
}

// `older` says whether `other` stands before `task` in the set.
bool holds_up(const Task& other, const Task& task, bool older) {
    if (older && task.attribute != TaskAttribute::head_of_queue) {
        if (task.attribute == TaskAttribute::ordered) return true;
        if (other.attribute == TaskAttribute::ordered ||
            other.attribute == TaskAttribute::head_of_queue)
            return true;
    }
    if (!is_exclusive(task) && !is_exclusive(other)) return false;
    const bool comes_first =
        other.phase == TaskPhase::started || (older && other.phase == TaskPhase::waiting);
    return comes_first && touches_same_blocks(other, task);
}

}  // namespace

bool may_start(const LogicalUnit& unit, const Task& task) {
    if (is_exclusive(task) && unit.device->third_party &&
        unit.device->third_party->is_writing(unit, bytes_of(unit, task)))
        return false;
    bool older = true;
    for (const Task* other = unit.first_task; other != nullptr; other = other->next) {
        if (other == &task) {
            older = false;
        } else if (holds_up(*other, task, older)) {
            return false;
        }
    }
    return true;
}

bool exclusive_task_touches(const LogicalUnit& unit, const ByteRange& range) {
    if (unit.constrained == 0) return false;
    for (const Task* task = unit.first_task; task != nullptr; task = task->next)
        if (is_exclusive(*task) && task->phase == TaskPhase::started &&
            bytes_of(unit, *task).overlaps(range))
            return true;
    return false;
}

void release_waiting(LogicalUnit& unit) noexcept {
    if (unit.releasing) return;  // the loop below sees what the inner call would
    unit.releasing = true;
    for (Task* task = unit.first_task; task != nullptr && unit.waiting != 0;) {
        if (task->phase != TaskPhase::waiting ||
            !(task->aborted || unit.constrained == 0 || may_start(unit, *task))) {
            task = task->next;
            continue;
        }
        --unit.waiting;
        if (start_task(unit, *task) == Step::finished) {
            task->complete(*task);
            task = unit.first_task;  // the set has changed, in ways only the session knows
        } else {
            task = task->next;
        }
    }
    unit.releasing = false;
}

}  // namespace goldlink::scsi
