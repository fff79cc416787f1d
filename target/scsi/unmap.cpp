// UNMAP and WRITE SAME (SBC-3 5.28, 5.43, 5.44): how initiators give blocks back and clear them.
#include "target/scsi/commands.hpp"
#include "target/scsi/disk_steps.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kUnmapHeader = 8;
constexpr std::size_t kUnmapDescriptor = 16;

struct UnmapRange {
    std::uint64_t lba;
    std::uint32_t count;
};

UnmapRange unmap_range(const Task& task, std::size_t index) {
    const std::uint8_t* at = task.buffer + kUnmapHeader + index * kUnmapDescriptor;
    return {load_be64(at), load_be32(at + 8)};
}

}  // namespace

Step prepare_unmap(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kAnchor = 0x01;
    if ((task.cdb[1] & kAnchor) != 0) return fail_cdb_field(task, 1);
    task.data_out_length = load_be16(&task.cdb[7]);
    task.request.fua = false;
    return Step::pending;
}

namespace {

// All descriptors are checked before the first is done. Leaves their count in `count`; false if the
// task has failed.
bool check_unmap_list(const LogicalUnit& unit, Task& task, std::size_t& count) {
    count = 0;
    if (task.data_out_length == 0) return true;
    if (task.data_out_length < kUnmapHeader) {
        fail(task, sense::kParameterListLengthError);
        return false;
    }
    const std::size_t announced = load_be16(task.buffer + 2);
    const std::size_t present = task.data_out_length - kUnmapHeader;
    count = std::min(announced, present) / kUnmapDescriptor;
    if (count > kMaxUnmapDescriptors) {
        fail_parameter_field(task, 2);
        return false;
    }
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const UnmapRange range = unmap_range(task, i);
        blocks += range.count;
        if (range.lba > unit.block_count || range.count > unit.block_count - range.lba) {
            fail(task, sense::kLbaOutOfRange);
            return false;
        }
        if (blocks > unit.blocks_of(kMaxUnmapBytes)) {
            fail_parameter_field(
                task, static_cast<std::uint16_t>(kUnmapHeader + i * kUnmapDescriptor + 8));
            return false;
        }
    }
    return true;
}

}  // namespace

Next advance_unmap(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::size_t kCountPlusOne = kStage;  // zero: the list is not checked yet
    if (task.scratch[kCountPlusOne] == 0) {
        std::size_t count = 0;
        if (!check_unmap_list(unit, task, count)) return Next::finished;
        task.scratch[kCountPlusOne] = count + 1;
    }
    for (std::uint64_t& index = task.scratch[kPosition]; index + 1 < task.scratch[kCountPlusOne];) {
        const UnmapRange range = unmap_range(task, index++);
        if (range.count == 0) continue;
        task.request.operation = disk::Operation::unmap;
        task.request.offset_bytes = range.lba << unit.block_shift;
        task.request.length_bytes = std::uint64_t{range.count} << unit.block_shift;
        task.request.data = nullptr;
        return Next::submit;
    }
    return Next::finished;
}

namespace {

constexpr std::uint8_t kUnmapBit = 0x08;
constexpr std::uint8_t kAnchorBit = 0x10;
constexpr std::uint8_t kNoDataOut = 0x01;  // NDOB, in the 16-byte form
constexpr std::uint8_t kWriteSame10 = 0x41;

bool has_data_out(const Task& task) {
    return task.cdb[0] == kWriteSame10 || (task.cdb[1] & kNoDataOut) == 0;
}

}  // namespace

template <unsigned CdbLength>
Step prepare_write_same(LogicalUnit& unit, Task& task) noexcept {
    // LBDATA and PBDATA of the 10-byte form are obsolete and refused, which is what the low bits
    // are.
    const std::uint8_t refused = CdbLength == 10 ? 0x07 : 0x06;
    const bool unmap = (task.cdb[1] & kUnmapBit) != 0;
    if (asks_for_protection(task) || (task.cdb[1] & (kAnchorBit | refused)) != 0 ||
        (unmap && !unit.thin))
        return fail_cdb_field(task, 1);
    const BlockRange range = block_range<CdbLength>(task);
    if (check_range(unit, task, range, kMaxWriteSameBytes) == Step::finished) return Step::finished;
    if (range.count == 0) return fail_cdb_field(task, range.count_byte);  // WSNZ (VPD B0)
    if (has_data_out(task)) task.data_out_length = unit.block_bytes();
    task.request.fua = !unit.mode.write_cache_enabled();
    return Step::pending;
}

// Zeroes are one request of the disk whatever the length; other data is written in pieces.
Next advance_write_same(LogicalUnit& unit, Task& task) noexcept {
    enum : std::uint64_t { kStart, kClearing, kWriting };
    const std::uint64_t total = std::uint64_t{task.block_count} << unit.block_shift;
    if (task.scratch[kStage] == kClearing) return Next::finished;
    if (task.scratch[kStage] == kWriting) {
        task.scratch[kPosition] += task.scratch[kLast];
        if (task.scratch[kPosition] == total) return Next::finished;
    } else {
        const std::uint32_t block = unit.block_bytes();
        const bool zero =
            !has_data_out(task) || std::ranges::all_of(std::span(task.buffer, block),
                                                       [](std::uint8_t byte) { return byte == 0; });
        if (zero) {
            task.scratch[kStage] = kClearing;
            const bool unmap = (task.cdb[1] & kUnmapBit) != 0;
            return submit_at_position(
                unit, task, unmap ? disk::Operation::unmap : disk::Operation::write_zeroes, nullptr,
                total);
        }
        task.scratch[kStage] = kWriting;
        std::uint8_t* work = work_of(unit, task);
        const std::uint64_t filled = std::min<std::uint64_t>(total, kWorkBytes);
        for (std::uint64_t at = 0; at < filled; at += block)
            std::memcpy(work + at, task.buffer, block);
    }
    return submit_at_position(unit, task, disk::Operation::write, work_of(unit, task),
                              std::min<std::uint64_t>(total - task.scratch[kPosition], kWorkBytes));
}

template Step prepare_write_same<10>(LogicalUnit&, Task&) noexcept;
template Step prepare_write_same<16>(LogicalUnit&, Task&) noexcept;

}  // namespace goldlink::scsi
