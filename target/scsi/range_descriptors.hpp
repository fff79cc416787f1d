// The block device range descriptors of POPULATE TOKEN and WRITE USING TOKEN (SBC-3 5.7.3).
#pragma once

#include <vector>

#include "target/scsi/rod_tokens.hpp"

namespace goldlink::scsi {

// Checks the descriptor list at `at`, `list_bytes` long and whole in the task's buffer, against the
// unit: their number, that none overlap, the end, the size of a transfer. False: the task has
// failed. Empty ranges are left out.
bool parse_range_descriptors(const LogicalUnit& unit, Task& task, std::size_t at,
                             std::size_t list_bytes, std::vector<ByteRange>& ranges);

}  // namespace goldlink::scsi
