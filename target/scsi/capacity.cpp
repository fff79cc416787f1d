// READ CAPACITY (10) and (16), GET LBA STATUS (SBC-3 5.14, 5.15, 5.4).
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

Step prepare_read_capacity_10(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kPmi = 0x01;
    // SBC-3 5.14.1: LOGICAL BLOCK ADDRESS must be zero unless the obsolete PMI is set.
    if ((task.cdb[8] & kPmi) == 0 && load_be32(&task.cdb[2]) != 0) return fail_cdb_field(task, 2);
    task.data_in_length = 8;
    return Step::pending;
}

Step execute_read_capacity_10(LogicalUnit& unit, Task& task) noexcept {
    const std::uint64_t last = unit.block_count - 1;
    ParameterData data(task);
    data.be32(static_cast<std::uint32_t>(std::min<std::uint64_t>(last, 0xFFFFFFFF)));
    data.be32(unit.block_bytes());
    return data.finish();
}

Step prepare_read_capacity_16(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kPmi = 0x01;
    if ((task.cdb[14] & kPmi) == 0 && load_be64(&task.cdb[2]) != 0) return fail_cdb_field(task, 2);
    return grant_parameter_data(task, load_be32(&task.cdb[10]));
}

Step execute_read_capacity_16(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kLbpmeLbprz = 0xC0;
    ParameterData data(task);
    data.be64(unit.block_count - 1);
    data.be32(unit.block_bytes());
    data.u8(0);  // no protection information
    data.u8(static_cast<std::uint8_t>(unit.physical_exponent));
    data.u8(unit.thin ? kLbpmeLbprz : 0);  // and LOWEST ALIGNED LOGICAL BLOCK ADDRESS 0
    data.u8(0);
    data.zeroes(16);
    return data.finish();
}

Step prepare_get_lba_status(LogicalUnit& unit, Task& task) noexcept {
    const std::uint64_t lba = load_be64(&task.cdb[2]);
    if (lba >= unit.block_count) return fail(task, sense::kLbaOutOfRange);
    const std::uint32_t allocation_length = load_be32(&task.cdb[10]);
    if (allocation_length < 24) return fail_cdb_field(task, 10);  // SBC-3 5.4.1
    task.lba = lba;
    return grant_parameter_data(task, allocation_length);
}

Step execute_get_lba_status(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::size_t kMaxDescriptors = 512;
    constexpr std::uint8_t kMapped = 0x0;
    constexpr std::uint8_t kDeallocated = 0x1;
    constexpr std::uint64_t kMaxBlocks = 0xFFFFFFFF;  // NUMBER OF LOGICAL BLOCKS has 32 bits
    const std::size_t room = (task.data_in_length - 8) / 16;
    ParameterData data(task);
    data.be32(0);
    data.be32(0);
    std::uint64_t lba = task.lba;
    for (std::size_t i = 0; i < std::min(room, kMaxDescriptors) && lba < unit.block_count; ++i) {
        const std::uint64_t left = std::min(unit.block_count - lba, kMaxBlocks);
        const disk::Extent extent =
            unit.disk->extent_at(lba << unit.block_shift, left << unit.block_shift);
        const std::uint64_t blocks = extent.length_bytes >> unit.block_shift;
        if (blocks == 0) break;
        data.be64(lba);
        data.be32(static_cast<std::uint32_t>(blocks));
        data.u8(extent.mapped ? kMapped : kDeallocated);
        data.zeroes(3);
        lba += blocks;
    }
    data.patch_be32(0, data.size() - 4);
    return data.finish();
}

}  // namespace goldlink::scsi
