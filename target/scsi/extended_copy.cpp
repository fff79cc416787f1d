// EXTENDED COPY with 8-bit list identifiers (SPC-4 6.4.3, "LID1"): block to block copies (segment
// descriptor 02h) between logical units of this device, which CSCD descriptors E4h name. The whole
// parameter list is checked before the first block is copied.
#include <array>
#include <optional>

#include "target/scsi/commands.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kHeaderBytes = 16;
constexpr std::uint8_t kListIdUsage = 0x18;
constexpr std::uint8_t kNoListId = 0x18;        // 11b
constexpr std::uint8_t kReservedListId = 0x08;  // 01b

// What a CSCD descriptor names. Null: no logical unit of ours, an error only if a segment uses it.
struct CopyTarget {
    LogicalUnit* unit = nullptr;
    bool is_disk = false;
};

struct CopyList {
    std::uint8_t list_identifier = 0;
    bool identified = false;
    std::array<CopyTarget, kMaxCscdDescriptors> targets{};
    std::size_t target_count = 0;
    std::vector<CopyExtent> extents;
    std::uint64_t total_bytes = 0;
};

LogicalUnit* unit_named(DeviceState& device, Bytes descriptor) {
    constexpr std::uint8_t kBinary = 0x01;
    constexpr std::uint8_t kNaaOfLogicalUnit = 0x03;
    if ((descriptor[4] & 0x0F) != kBinary || (descriptor[5] & 0x3F) != kNaaOfLogicalUnit ||
        descriptor[7] != 8)
        return nullptr;
    for (LogicalUnit& unit : device.units)
        if (!unit.absent && unit.type == DeviceType::disk &&
            unit.identity.naa == load_be64(&descriptor[8]))
            return &unit;
    return nullptr;
}

// SPC-4 6.4.5.4. `at` is the descriptor's place in the parameter list.
bool parse_target(Task& task, Bytes descriptor, std::size_t at, CopyTarget& target) {
    constexpr std::uint8_t kLuIdType = 0xC0;
    constexpr std::uint8_t kNullDevice = 0x20;  // NUL of SPC-3, which no unit of ours is
    constexpr std::uint8_t kDeviceType = 0x1F;
    const auto refuse = [&](std::size_t byte) {
        fail_parameter_field(task, static_cast<std::uint16_t>(at + byte));
        return false;
    };
    if (descriptor[0] != kIdentificationDescriptor) {
        fail(task, sense::kUnsupportedTargetDescriptor);
        return false;
    }
    if ((descriptor[1] & kLuIdType) != 0) return refuse(1);
    target.is_disk = (descriptor[1] & kDeviceType) == 0;
    if ((descriptor[1] & kNullDevice) != 0) return true;
    target.unit = unit_named(*task.nexus->device, descriptor);
    if (target.unit != nullptr && target.is_disk &&
        load_be24(&descriptor[29]) != target.unit->block_bytes())
        return refuse(29);  // DISK BLOCK LENGTH
    return true;
}

// SPC-4 6.4.6.4
bool parse_segment(Task& task, Bytes descriptor, std::size_t at, std::uint16_t index,
                   CopyList& list) {
    constexpr std::uint8_t kDestinationCount = 0x02;  // DC
    const auto refuse = [&](const Sense& sense) {
        fail(task, sense);
        return false;
    };
    if (load_be16(&descriptor[2]) != kSegmentDescriptorBytes - 4) {
        fail_parameter_field(task, static_cast<std::uint16_t>(at + 2));
        return false;
    }
    LogicalUnit* units[2] = {};
    for (const std::size_t i : {0u, 1u}) {
        const std::uint16_t target = load_be16(&descriptor[4 + 2 * i]);
        if (target >= list.target_count || list.targets[target].unit == nullptr)
            return refuse(sense::kCopyTargetNotReachable);
        if (!list.targets[target].is_disk) return refuse(sense::kIncorrectCopyTargetType);
        units[i] = list.targets[target].unit;
    }
    LogicalUnit& source = *units[0];
    LogicalUnit& destination = *units[1];
    const unsigned count_shift =
        (descriptor[1] & kDestinationCount) != 0 ? destination.block_shift : source.block_shift;
    const std::uint64_t length = std::uint64_t{load_be16(&descriptor[10])} << count_shift;
    const std::uint64_t from = load_be64(&descriptor[12]);
    const std::uint64_t to = load_be64(&descriptor[20]);
    if (length > kMaxSegmentBytes) {
        fail_parameter_field(task, static_cast<std::uint16_t>(at + 10));
        return false;
    }
    if (length % source.block_bytes() != 0 || length % destination.block_bytes() != 0)
        return refuse(sense::kUnexpectedInexactSegment);
    if (from >= source.block_count || length >> source.block_shift > source.block_count - from ||
        to >= destination.block_count ||
        length >> destination.block_shift > destination.block_count - to)
        return refuse(sense::kCopyAborted);
    list.total_bytes += length;
    list.extents.push_back({&source, from << source.block_shift, &destination,
                            to << destination.block_shift, length, index});
    return true;
}

// SPC-4 6.4.3.2 to 6.4.3.6
bool parse(Task& task, Bytes data, CopyList& list) {
    const auto refuse = [&](const Sense& sense) {
        fail(task, sense);
        return false;
    };
    const std::uint32_t targets_bytes = load_be16(&data[2]);
    const std::uint32_t segments_bytes = load_be32(&data[8]);
    const std::uint32_t inline_bytes = load_be32(&data[12]);
    list.list_identifier = data[0];
    const std::uint8_t usage = data[1] & kListIdUsage;
    list.identified = usage != kNoListId;
    if (usage == kReservedListId) {
        fail_parameter_field(task, 1);
        return false;
    }
    if (!list.identified && list.list_identifier != 0) {
        fail_parameter_field(task, 0);
        return false;
    }
    if (std::uint64_t{targets_bytes} + segments_bytes > kMaxDescriptorListBytes)
        return refuse(sense::kParameterListLengthError);
    if (inline_bytes != 0) return refuse(sense::kInlineDataLengthExceeded);
    if (data.size() < kHeaderBytes + targets_bytes + segments_bytes)
        return refuse(sense::kParameterListLengthError);
    if (targets_bytes % kCscdDescriptorBytes != 0) {
        fail_parameter_field(task, 2);
        return false;
    }
    list.target_count = targets_bytes / kCscdDescriptorBytes;
    if (list.target_count > kMaxCscdDescriptors) return refuse(sense::kTooManyTargetDescriptors);
    if (segments_bytes / kSegmentDescriptorBytes > kMaxSegmentDescriptors)
        return refuse(sense::kTooManySegmentDescriptors);
    for (std::size_t i = 0; i < list.target_count; ++i) {
        const std::size_t at = kHeaderBytes + i * kCscdDescriptorBytes;
        if (!parse_target(task, data.subspan(at, kCscdDescriptorBytes), at, list.targets[i]))
            return false;
    }
    // Descriptors of other types have other lengths, so each type is looked at where it begins.
    std::size_t at = kHeaderBytes + targets_bytes;
    const std::size_t end = at + segments_bytes;
    for (std::uint16_t index = 0; at < end; ++index, at += kSegmentDescriptorBytes) {
        if (data[at] != kBlockToBlock) return refuse(sense::kUnsupportedSegmentDescriptor);
        if (end - at < kSegmentDescriptorBytes) return refuse(sense::kParameterListLengthError);
        if (!parse_segment(task, data.subspan(at, kSegmentDescriptorBytes), at, index, list))
            return false;
    }
    return true;
}

}  // namespace

Step prepare_copy_out(Task& task, std::uint32_t max_bytes) {
    const std::uint32_t length = load_be32(&task.cdb[10]);
    if (length > max_bytes || (length > 0 && length < kHeaderBytes))
        return fail(task, sense::kParameterListLengthError);
    task.data_out_length = length;
    return Step::pending;
}

Step prepare_extended_copy(LogicalUnit&, Task& task) noexcept {
    return prepare_copy_out(task, kHeaderBytes + kMaxDescriptorListBytes);
}

Step execute_extended_copy(LogicalUnit&, Task& task) noexcept {
    if (task.data_out_length == 0) return Step::finished;
    CopyList list;
    if (!parse(task, Bytes(task.buffer, task.data_out_length), list)) return Step::finished;
    std::optional<std::uint32_t> identifier;
    if (list.identified) identifier = list.list_identifier;
    CopyOperation* operation =
        task.nexus->device->third_party->open(task, identifier, CopyOut::extended_copy_lid1);
    if (operation == nullptr) return Step::finished;
    operation->wanted_bytes = list.total_bytes;
    operation->extents = std::move(list.extents);
    return operation->start(&task);
}

}  // namespace goldlink::scsi
