// WRITE USING TOKEN (SBC-3 5.45): writes what a ROD token stands for into ranges of the unit. The
// token may be of any unit of this device; those of other devices are unknown here, which makes the
// initiator copy by itself.
#include "target/scsi/commands.hpp"
#include "target/scsi/range_descriptors.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kOffsetIntoRodAt = 8;
constexpr std::size_t kTokenAt = 16;
constexpr std::size_t kRangesLengthAt = kTokenAt + kRodTokenBytes + 6;  // 534
constexpr std::size_t kHeaderBytes = kRangesLengthAt + 2;
constexpr std::uint16_t kMinDataLength = 0x0226;
constexpr std::uint8_t kImmediate = 0x01;    // IMMED
constexpr std::uint8_t kDeleteToken = 0x02;  // DEL_TKN

// Lays the token's data from `offset_bytes` on over the destination's ranges, up to `end_bytes` of
// the token; what is left of the destination's last block is cleared (SBC-3 5.45.2).
std::vector<CopyExtent> lay_out(const RodToken& token, std::uint64_t offset_bytes,
                                LogicalUnit& destination,
                                const std::vector<ByteRange>& destination_ranges) {
    std::vector<CopyExtent> extents;
    auto source = token.ranges.begin();
    std::uint64_t in_source = offset_bytes;
    const auto skip_done = [&] {
        while (source != token.ranges.end() && in_source >= source->length_bytes)
            in_source -= (source++)->length_bytes;
    };
    skip_done();
    for (const ByteRange& range : destination_ranges) {
        std::uint64_t done = 0;
        while (done < range.length_bytes && source != token.ranges.end()) {
            const std::uint64_t length =
                std::min(range.length_bytes - done, source->length_bytes - in_source);
            extents.push_back({token.source, source->offset_bytes + in_source, &destination,
                               range.offset_bytes + done, length});
            done += length;
            in_source += length;
            skip_done();
        }
        if (source == token.ranges.end()) {
            const std::uint64_t in_block = done % destination.block_bytes();
            if (in_block != 0)
                extents.push_back({nullptr, 0, &destination, range.offset_bytes + done,
                                   destination.block_bytes() - in_block});
            break;
        }
    }
    return extents;
}

std::vector<CopyExtent> zeroes(LogicalUnit& destination, const std::vector<ByteRange>& ranges) {
    std::vector<CopyExtent> extents;
    for (const ByteRange& range : ranges)
        extents.push_back({nullptr, 0, &destination, range.offset_bytes, range.length_bytes});
    return extents;
}

// The extents for the token of the list; false: the task has failed.
bool resolve_token(LogicalUnit& unit, Task& task, Bytes data, const std::vector<ByteRange>& ranges,
                   std::uint64_t& token_id, std::vector<CopyExtent>& extents) {
    const Bytes given = data.subspan(kTokenAt, kRodTokenBytes);
    if (load_be16(&given[6]) != kRodTokenLengthField) {
        fail(task, sense::kInvalidTokenLength);
        return false;
    }
    if (load_be32(&given[0]) == kRodTypeBlockZero) {
        extents = zeroes(unit, ranges);
        return true;
    }
    Sense why;
    const RodToken* token = unit.device->third_party->tokens.use(given, why);
    if (token == nullptr) {
        fail(task, why);
        return false;
    }
    const std::uint64_t offset_blocks = load_be64(&data[kOffsetIntoRodAt]);
    if (offset_blocks > RodTokens::kMaxBytes ||
        offset_blocks << unit.block_shift >= token->length_bytes) {
        fail_parameter_field(task, kOffsetIntoRodAt);
        return false;
    }
    // Writing over what the token stands for would end it midway.
    for (const ByteRange& from : token->ranges)
        for (const ByteRange& to : ranges)
            if (token->source == &unit && from.overlaps(to)) {
                fail(task, sense::kInvalidTokenOperation);
                return false;
            }
    token_id = token->id;
    extents = lay_out(*token, offset_blocks << unit.block_shift, unit, ranges);
    return true;
}

}  // namespace

Step execute_write_using_token(LogicalUnit& unit, Task& task) noexcept {
    if (task.data_out_length == 0) return Step::finished;
    const Bytes data(task.buffer, task.data_out_length);
    const std::uint16_t data_length = load_be16(&data[0]);
    if (data_length < kMinDataLength) return fail_parameter_field(task, 0);
    if (data.size() < kHeaderBytes + 16) return fail(task, sense::kParameterListLengthError);
    const std::uint16_t ranges_bytes = load_be16(&data[kRangesLengthAt]);
    if (ranges_bytes < 16 || data_length != ranges_bytes + kRangesLengthAt)
        return fail_parameter_field(task, kRangesLengthAt);
    if (data.size() < kHeaderBytes + ranges_bytes)
        return fail(task, sense::kParameterListLengthError);

    std::vector<ByteRange> ranges;
    if (!parse_range_descriptors(unit, task, kHeaderBytes, ranges_bytes, ranges))
        return Step::finished;
    std::uint64_t token_id = 0;
    std::vector<CopyExtent> extents;
    if (!resolve_token(unit, task, data, ranges, token_id, extents)) return Step::finished;
    CopyOperation* operation =
        unit.device->third_party->open(task, load_be32(&task.cdb[6]), CopyOut::write_using_token);
    if (operation == nullptr) return Step::finished;
    for (const ByteRange& range : ranges) operation->wanted_bytes += range.length_bytes;
    operation->token_id = token_id;
    operation->delete_token = (data[2] & kDeleteToken) != 0;
    operation->extents = std::move(extents);
    if ((data[2] & kImmediate) == 0) return operation->start(&task);
    operation->start(nullptr);
    return Step::finished;
}

}  // namespace goldlink::scsi
