// What the device makes of a data-out whose length is not the one that the CDB says: the one place
// that compares the two. The initiator's is the Expected Data Transfer Length (RFC 7143 11.3.4),
// the command's is Task::data_out_length; an overflow or underflow is reported whatever comes of it
// (11.4.5.2). Pure. The kinds of command are DataOut's, in the opcode table.
#pragma once

#include "target/scsi/logical_unit.hpp"

namespace goldlink::scsi {

// Called by Device::prepare for every command whose lengths differ, before any data is asked for.
// Step::finished: the command is refused, and nothing of it is transferred.
Step settle_data_out(const LogicalUnit& unit, Task& task, const OpcodeRow& row);

}  // namespace goldlink::scsi
