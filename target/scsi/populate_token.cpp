// POPULATE TOKEN (SBC-3 5.7): makes a ROD token for ranges of the unit. Nothing is copied yet, so
// it is done when it returns, whether IMMED is set or not; RECEIVE ROD TOKEN INFORMATION hands the
// token out.
#include "target/scsi/commands.hpp"
#include "target/scsi/range_descriptors.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kRangesLengthAt = 14;
constexpr std::uint16_t kMinDataLength = 0x001E;

// 0080FFFFh leaves the choice of the point in time type to us.
bool is_supported_type(std::uint32_t rod_type) {
    return rod_type == kRodTypeChangeVulnerable || rod_type == kRodTypePointInTimeAny;
}

}  // namespace

Step prepare_token_command(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint32_t kMaxListBytes = 0xFFFF + 2;  // what the DATA LENGTH field can say
    return prepare_copy_out(task, kMaxListBytes);
}

Step execute_populate_token(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kRodTypeValid = 0x02;  // RTV
    if (task.data_out_length == 0) return Step::finished;
    const Bytes data(task.buffer, task.data_out_length);
    const std::uint16_t data_length = load_be16(&data[0]);
    const std::uint32_t inactivity_seconds = load_be32(&data[4]);
    const std::uint16_t ranges_bytes = load_be16(&data[kRangesLengthAt]);
    if (data_length < kMinDataLength) return fail_parameter_field(task, 0);
    if (inactivity_seconds > RodTokens::kMaxInactivitySeconds) return fail_parameter_field(task, 4);
    if ((data[2] & kRodTypeValid) != 0 && !is_supported_type(load_be32(&data[8])))
        return fail_parameter_field(task, 8);
    if (ranges_bytes < 16 || ranges_bytes > data_length - (kRangesLengthAt))
        return fail_parameter_field(task, kRangesLengthAt);
    // Descriptors that the PARAMETER LIST LENGTH cuts off are ignored.
    const std::size_t available = std::min<std::size_t>(ranges_bytes, data.size() - kHeaderBytes);
    if (available < 16) return fail(task, sense::kParameterListLengthError);

    std::vector<ByteRange> ranges;
    if (!parse_range_descriptors(unit, task, kHeaderBytes, available, ranges))
        return Step::finished;
    ThirdPartyCopy& copies = *unit.device->third_party;
    CopyOperation* operation = copies.open(task, load_be32(&task.cdb[6]), CopyOut::populate_token);
    if (operation == nullptr) return Step::finished;
    const RodToken& token = copies.tokens.make(
        unit, std::move(ranges),
        inactivity_seconds != 0 ? inactivity_seconds : RodTokens::kDefaultInactivitySeconds);
    operation->token_id = token.id;
    operation->finish_at_once(token.length_bytes);
    return Step::finished;
}

}  // namespace goldlink::scsi
