// Saving what must outlive the device, and the commands that answer only when it is saved.
// Thread: the link's reactor.
#pragma once

#include "target/scsi/logical_unit.hpp"

namespace goldlink::scsi {

// Gives the unit's persistent state to the owner; Device::saved comes later with the ticket. The
// device must have the seam.
std::uint64_t begin_save(LogicalUnit& unit);

// Ends `execute` of a command whose effect must be durable before its answer: Step::pending.
Step answer_when_saved(LogicalUnit& unit, Task& task);

void saved(LogicalUnit& unit, std::uint64_t ticket, bool ok) noexcept;

// A new device takes on what another has left.
void restore(LogicalUnit& unit, const PersistentUnit& state);

}  // namespace goldlink::scsi
