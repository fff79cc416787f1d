// RECEIVE ROD TOKEN INFORMATION (SPC-4 6.24, SBC-3 5.25): what became of a POPULATE TOKEN or WRITE
// USING TOKEN of this nexus, and the token of the former.
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

// COPY OPERATION STATUS (SPC-4 table 272).
std::uint8_t operation_status(const CopyOperation& operation) {
    enum : std::uint8_t {
        kDone = 0x01,
        kFailed = 0x02,
        kDoneInPart = 0x03,
        kInForeground = 0x11,
        kInBackground = 0x12,
        kTerminated = 0x60,
    };
    switch (operation.state()) {
        case CopyOperation::State::running:
            return operation.in_background() ? kInBackground : kInForeground;
        case CopyOperation::State::done:
            return operation.copied_bytes() == operation.wanted_bytes ? kDone : kDoneInPart;
        case CopyOperation::State::failed:
            return kFailed;
        case CopyOperation::State::terminated:
            break;
    }
    return kTerminated;
}

}  // namespace

Step execute_rod_token_information(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kLogicalBlocks = 0xF1;
    constexpr std::uint32_t kPollAgainMs = 20;  // ESTIMATED STATUS UPDATE DELAY
    ThirdPartyCopy& copies = *unit.device->third_party;
    const CopyOperation* operation = copies.find(*task.nexus, load_be32(&task.cdb[2]));
    if (operation == nullptr || operation->action == CopyOut::extended_copy_lid1)
        return fail_cdb_field(task, 2);
    const bool ended_badly =
        !operation->running() && operation->state() != CopyOperation::State::done;
    std::array<std::uint8_t, 64> sense{};
    const std::size_t sense_length =
        ended_badly ? encode_sense(operation->sense(), false, sense) : 0;
    const RodToken* token = operation->action == CopyOut::populate_token
                                ? copies.tokens.find(operation->token_id)
                                : nullptr;
    ParameterData data(task);
    data.be32(0);
    data.u8(static_cast<std::uint8_t>(operation->action));
    data.u8(operation_status(*operation));
    data.be16(operation->pieces());  // OPERATION COUNTER
    data.be32(operation->running() ? kPollAgainMs : 0);
    data.u8(static_cast<std::uint8_t>(ended_badly ? Status::check_condition : Status::good));
    data.u8(static_cast<std::uint8_t>(sense_length));
    data.u8(static_cast<std::uint8_t>(sense_length));
    data.u8(kLogicalBlocks);
    data.be64(operation->copied_bytes() >> operation->block_shift);
    data.be16(0);  // SEGMENTS PROCESSED
    data.zeroes(6);
    data.bytes(std::span(sense).first(sense_length));
    data.be32(token != nullptr ? 2 + kRodTokenBytes : 0);
    if (token != nullptr) {
        data.be16(0);
        data.bytes(token->bytes);
    }
    data.patch_be32(0, data.size() - 4);
    return data.finish();
}

}  // namespace goldlink::scsi
