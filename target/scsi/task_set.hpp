// The task set of a logical unit (SAM-5 8): which commands may start while others run. SIMPLE
// commands start at once, in any order; an ORDERED one waits for all older ones and holds up all
// newer; HEAD OF QUEUE stands before all. An exclusive command (COMPARE AND WRITE) and commands
// that touch its blocks do not overlap, nor does a piece that a copy writes there. As long as no
// such command is in the set (`constrained` is zero) a command costs two list operations and
// nothing else.
//
// A waiting command only ever waits for older commands or for started ones, so none waits forever.
#pragma once

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/rod_tokens.hpp"

namespace goldlink::scsi {

inline bool is_constrained(const Task& task) {
    return task.attribute == TaskAttribute::ordered ||
           task.attribute == TaskAttribute::head_of_queue ||
           (row_of(task).traits & kExclusive) != 0;
}

inline void enter_task_set(LogicalUnit& unit, Task& task) {
    task.phase = TaskPhase::prepared;
    if (is_constrained(task)) ++unit.constrained;
    if (task.attribute == TaskAttribute::head_of_queue) {
        task.previous = nullptr;
        task.next = unit.first_task;
        (unit.first_task != nullptr ? unit.first_task->previous : unit.last_task) = &task;
        unit.first_task = &task;
    } else {
        task.next = nullptr;
        task.previous = unit.last_task;
        (unit.last_task != nullptr ? unit.last_task->next : unit.first_task) = &task;
        unit.last_task = &task;
    }
    ++task.nexus->tasks;
    ++unit.device->tasks_in_flight;
}

// Whether the task may start now; only needed while unit.constrained is not zero.
bool may_start(const LogicalUnit& unit, const Task& task);

// Whether a started exclusive command holds blocks of this range (copies ask, before they write).
bool exclusive_task_touches(const LogicalUnit& unit, const ByteRange& range);

// Starts what waited for a task that has left; finished ones are completed from here.
void release_waiting(LogicalUnit& unit) noexcept;

// Gives back the working memory of a multi-step command (disk_steps.cpp).
void release_work(LogicalUnit& unit, Task& task);

inline void leave_task_set(LogicalUnit& unit, Task& task) {
    if (is_constrained(task)) --unit.constrained;
    (task.previous != nullptr ? task.previous->next : unit.first_task) = task.next;
    (task.next != nullptr ? task.next->previous : unit.last_task) = task.previous;
    task.phase = TaskPhase::outside;
    --task.nexus->tasks;
    --unit.device->tasks_in_flight;
    if (row_of(task).advance != nullptr) release_work(unit, task);
    if (unit.waiting != 0) release_waiting(unit);
}

// Runs the command, which is in phase `prepared` or `waiting`. If it finishes it has left the set.
inline Step start_task(LogicalUnit& unit, Task& task) noexcept {
    task.phase = TaskPhase::started;
    if (task.aborted) {
        task.data_in_length = 0;
    } else if ((!unit.restricted || refuse_restricted(unit, task) == Step::pending) &&
               row_of(task).execute(unit, task) == Step::pending) {
        return Step::pending;
    }
    leave_task_set(unit, task);
    return Step::finished;
}

}  // namespace goldlink::scsi
