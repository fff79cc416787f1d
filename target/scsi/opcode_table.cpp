#include "target/scsi/opcode_table.hpp"

#include "common/check.hpp"

namespace goldlink::scsi {

CommandSet::CommandSet(std::span<const OpcodeRow> rows) : rows_(rows) {
    for (const OpcodeRow& row : rows) {
        Entry& entry = by_opcode_[row.opcode];
        if (entry.count == 0) {
            entry.first = &row;
            entry.by_service_action = row.service_action != OpcodeRow::kNoServiceAction;
        }
        CHECK(entry.first + entry.count == &row, "rows of one opcode must stand together");
        CHECK(entry.by_service_action == (row.service_action != OpcodeRow::kNoServiceAction),
              "an opcode has service actions or it has none");
        ++entry.count;
    }
}

}  // namespace goldlink::scsi
