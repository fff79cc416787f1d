// Whether a unit's medium can be used: stopped, ejected, being sanitized. START STOP UNIT and
// PREVENT ALLOW MEDIUM REMOVAL change it (SBC-3 5.20, SPC-4 6.14).
//
// A stopped unit starts again by START, by a reset, and when a session logs in: Windows stops its
// disks at shutdown, and iPXE, which comes next, never sends START.
#pragma once

#include "target/scsi/device.hpp"

namespace goldlink::scsi {

struct DeviceState;
struct LogicalUnit;

// Sets unit.restricted, which the checks of every command look at, from its causes.
void update_restricted(LogicalUnit& unit);

// While unit.restricted: Step::finished when the task's command may not run now.
Step refuse_restricted(const LogicalUnit& unit, Task& task);

// What REQUEST SENSE says then.
Sense restriction_of(const LogicalUnit& unit);

bool removal_is_prevented(const LogicalUnit& unit);

void start_for_login(LogicalUnit& unit);
// Nobody walks to the drive: the discs are in again for who comes after all sessions have ended.
void close_trays(DeviceState& device);
void reset_medium_state(LogicalUnit& unit);

}  // namespace goldlink::scsi
