// What became of a copy, and what copies may ask for: RECEIVE COPY STATUS (LID1), RECEIVE COPY
// OPERATING PARAMETERS and RECEIVE COPY FAILURE DETAILS (LID1) (SPC-4 6.18, 6.19, 6.20), which
// SPC-3 calls the service actions of RECEIVE COPY RESULTS.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

// The EXTENDED COPY that CDB byte 2 names, or null with the task failed.
CopyOperation* named_operation(Task& task) {
    CopyOperation* operation = task.nexus->device->third_party->find(*task.nexus, task.cdb[2]);
    if (operation != nullptr && operation->action == CopyOut::extended_copy_lid1) return operation;
    fail_cdb_field(task, 2);
    return nullptr;
}

}  // namespace

Step prepare_copy_in(LogicalUnit&, Task& task) noexcept {
    return grant_parameter_data(task, load_be32(&task.cdb[10]));
}

Step execute_copy_status(LogicalUnit&, Task& task) noexcept {
    enum : std::uint8_t { kInProgress = 0, kCompleted = 1, kCompletedWithErrors = 2 };
    constexpr std::uint8_t kKibibytes = 0x01;
    const CopyOperation* operation = named_operation(task);
    if (operation == nullptr) return Step::finished;
    ParameterData data(task);
    data.be32(8);
    data.u8(operation->running()                               ? kInProgress
            : operation->state() == CopyOperation::State::done ? kCompleted
                                                               : kCompletedWithErrors);
    data.be16(operation->segments_done());
    data.u8(kKibibytes);
    data.be32(static_cast<std::uint32_t>(operation->copied_bytes() / 1024));
    return data.finish();
}

Step execute_copy_operating_parameters(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kListIdNotNeeded = 0x01;  // SNLID: LIST ID USAGE 11b is accepted
    ParameterData data(task);
    data.be32(0);
    data.u8(kListIdNotNeeded);
    data.zeroes(3);
    data.be16(kMaxCscdDescriptors);
    data.be16(kMaxSegmentDescriptors);
    data.be32(kMaxDescriptorListBytes);
    data.be32(kMaxSegmentBytes);
    data.be32(0);  // MAXIMUM INLINE DATA LENGTH
    data.be32(0);  // HELD DATA LIMIT
    data.be32(0);  // MAXIMUM STREAM DEVICE TRANSFER SIZE
    data.be16(0);
    data.be16(ThirdPartyCopy::kMaxRunning);                // TOTAL CONCURRENT COPIES
    data.u8(ThirdPartyCopy::kMaxRunning);                  // MAXIMUM CONCURRENT COPIES
    data.u8(static_cast<std::uint8_t>(unit.block_shift));  // DATA SEGMENT GRANULARITY (log 2)
    data.u8(0);                                            // INLINE DATA GRANULARITY
    data.u8(0);                                            // HELD DATA GRANULARITY
    data.zeroes(3);
    data.u8(2);  // IMPLEMENTED DESCRIPTOR LIST LENGTH
    data.u8(kBlockToBlock);
    data.u8(kIdentificationDescriptor);
    data.patch_be32(0, data.size() - 4);
    return data.finish();
}

// Told once (SPC-4 6.20): the operation's status stays, its details go.
Step execute_copy_failure_details(LogicalUnit&, Task& task) noexcept {
    CopyOperation* operation = named_operation(task);
    if (operation == nullptr) return Step::finished;
    if (operation->running()) return fail_cdb_field(task, 2);
    ParameterData data(task);
    data.be32(0);
    if (operation->state() != CopyOperation::State::done && !operation->details_told) {
        operation->details_told = true;
        std::array<std::uint8_t, 64> raw{};
        const std::size_t length = encode_sense(operation->sense(), false, raw);
        data.zeroes(52);
        data.u8(static_cast<std::uint8_t>(Status::check_condition));
        data.u8(0);
        data.be16(static_cast<std::uint16_t>(length));
        data.bytes(std::span(raw).first(length));
    }
    data.patch_be32(0, data.size() - 4);
    return data.finish();
}

}  // namespace goldlink::scsi
