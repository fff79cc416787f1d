#include "target/scsi/range_descriptors.hpp"

#include <algorithm>

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kDescriptorBytes = 16;

bool any_overlap(std::vector<ByteRange> ranges) {
    std::ranges::sort(ranges, {}, &ByteRange::offset_bytes);
    return std::ranges::adjacent_find(ranges, [](const ByteRange& a, const ByteRange& b) {
               return a.overlaps(b);
           }) != ranges.end();
}

}  // namespace

bool parse_range_descriptors(const LogicalUnit& unit, Task& task, std::size_t at,
                             std::size_t list_bytes, std::vector<ByteRange>& ranges) {
    const std::size_t count = list_bytes / kDescriptorBytes;  // an incomplete last one is ignored
    if (count > RodTokens::kMaxRanges) {
        fail(task, sense::kTooManySegmentDescriptors);
        return false;
    }
    std::uint64_t total_bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t here = at + i * kDescriptorBytes;
        const std::uint64_t lba = load_be64(task.buffer + here);
        const std::uint32_t blocks = load_be32(task.buffer + here + 8);
        if (lba > unit.block_count || blocks > unit.block_count - lba) {
            fail(task, sense::kLbaOutOfRange);
            return false;
        }
        const std::uint64_t length = std::uint64_t{blocks} << unit.block_shift;
        total_bytes += length;
        if (total_bytes > RodTokens::kMaxBytes) {
            fail_parameter_field(task, static_cast<std::uint16_t>(here + 8));
            return false;
        }
        if (blocks > 0) ranges.push_back({lba << unit.block_shift, length});
    }
    if (any_overlap(ranges)) {
        fail_parameter_field(task, static_cast<std::uint16_t>(at));
        return false;
    }
    return true;
}

}  // namespace goldlink::scsi
