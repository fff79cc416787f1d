#include "tests/sim/initiator.hpp"

#include <algorithm>

#include "target/iscsi/digest.hpp"
#include "target/iscsi/text.hpp"

namespace goldlink::sim {

using namespace iscsi;

namespace {

constexpr std::uint32_t kSector = 512;
constexpr std::size_t kMaxTaskRequests = 8;  // at once; the target takes 16

void put_be32(std::uint8_t* at, std::uint64_t value) {
    store_be32(at, static_cast<std::uint32_t>(value));
}

// The CDB, and what else of the command follows from its kind.
std::array<std::uint8_t, 16> encode_cdb(SimCommand& command, bool fua) {
    using Kind = SimCommand::Kind;
    std::array<std::uint8_t, 16> cdb{};
    const std::uint64_t lba = command.offset / kSector;
    const std::uint64_t blocks = command.length / kSector;
    command.transfer = 0;
    switch (command.kind) {
        case Kind::read:
        case Kind::write:
            cdb[0] = command.kind == Kind::read ? 0x28 : 0x2a;
            cdb[1] = fua ? 8 : 0;
            put_be32(cdb.data() + 2, lba);
            store_be16(cdb.data() + 7, static_cast<std::uint16_t>(blocks));
            command.transfer = static_cast<std::uint32_t>(command.length);
            break;
        case Kind::write_same:
            cdb[0] = 0x93;
            store_be64(cdb.data() + 2, lba);
            put_be32(cdb.data() + 10, blocks);
            command.parameter.assign(command.data.begin(), command.data.begin() + kSector);
            command.transfer = kSector;
            break;
        case Kind::unmap:
            cdb[0] = 0x42;
            cdb[8] = 24;
            command.parameter.assign(24, 0);
            command.parameter[1] = 22;
            command.parameter[3] = 16;
            store_be64(command.parameter.data() + 8, lba);
            put_be32(command.parameter.data() + 16, blocks);
            command.transfer = 24;
            break;
        case Kind::flush:
            cdb[0] = 0x35;
            break;
        case Kind::none:  // TEST UNIT READY
            break;
    }
    return cdb;
}

bool writes(const SimCommand& command) {
    return command.transfer > 0 && command.kind != SimCommand::Kind::read;
}

}  // namespace

Initiator::Initiator(std::string name, std::uint64_t isid, Random& random,
                     std::function<std::shared_ptr<Wire>()> connect,
                     std::function<void(SimCommand&, SimCommand::End)> ended)
    : name_(std::move(name)),
      isid_(isid),
      random_(random),
      connect_(std::move(connect)),
      ended_(std::move(ended)) {}

// ---- Out

void Initiator::transmit(Opcode opcode, std::uint8_t flags, Bytes data,
                         const std::function<void(BhsWriter&)>& fill, bool immediate) {
    std::array<std::uint8_t, kBhsBytes> header;
    BhsWriter writer(header.data(), opcode, flags);
    if (immediate) header[0] |= 0x40;
    writer.data_length(static_cast<std::uint32_t>(data.size())).be32(28, exp_stat_sn_);
    fill(writer);
    auto& out = wire_->to_target;
    const auto append_digest = [&out](std::uint32_t digest) {
        std::array<std::uint8_t, kDigestBytes> bytes;
        store_le32(bytes.data(), digest);
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    out.insert(out.end(), header.begin(), header.end());
    if (header_digest_) append_digest(crc32c(header));
    if (data.empty()) return;
    const std::size_t at = out.size();
    out.insert(out.end(), data.begin(), data.end());
    out.resize(at + padded(data.size()));
    if (data_digest_) append_digest(crc32c(Bytes(out).subspan(at)));
}

void Initiator::connect() {
    wire_ = connect_();
    header_digest_ = data_digest_ = logged_in_ = logging_out_ = false;
    received_.clear();
    initial_r2t_ = random_() % 2 == 0;
    immediate_data_ = random_() % 2 == 0;
    max_segment_ = 512U << (random_() % 8);
    max_burst_ = 512U << (random_() % 7);
    first_burst_ = std::min(max_burst_, 512U << (random_() % 7));
    max_r2t_ = 1 + static_cast<std::uint32_t>(random_() % 4);
    std::string keys;
    append_pair(keys, "InitiatorName", name_);
    append_pair(keys, "TargetName", "iqn.a:sim");
    append_pair(keys, "InitialR2T", initial_r2t_ ? "Yes" : "No");
    append_pair(keys, "ImmediateData", immediate_data_ ? "Yes" : "No");
    append_pair(keys, "MaxRecvDataSegmentLength", std::to_string(max_segment_));
    append_pair(keys, "MaxBurstLength", std::to_string(max_burst_));
    append_pair(keys, "FirstBurstLength", std::to_string(first_burst_));
    append_pair(keys, "MaxOutstandingR2T", std::to_string(max_r2t_));
    append_pair(keys, "HeaderDigest", random_() % 3 == 0 ? "CRC32C" : "None");
    append_pair(keys, "DataDigest", random_() % 3 == 0 ? "CRC32C" : "None");
    cmd_sn_ = static_cast<std::uint32_t>(random_() % 4 == 0 ? 0xfffffff0 + random_() % 32
                                                            : random_() % 1000);
    exp_cmd_sn_ = max_cmd_sn_ = cmd_sn_;
    exp_stat_sn_ = 0;
    transmit(
        Opcode::login, 0x87, as_bytes(keys),
        [&](BhsWriter& writer) {
            writer.be32(8, static_cast<std::uint32_t>(isid_ >> 16))
                .be16(12, static_cast<std::uint16_t>(isid_))
                .itt(0)
                .be32(24, cmd_sn_);
        },
        true);
}

void Initiator::send(std::unique_ptr<SimCommand> command) {
    const auto cdb = encode_cdb(*command, random_() % 8 == 0);
    command->itt = next_itt_++;
    command->begun = turns_;
    const bool out = writes(*command);
    std::uint32_t immediate = 0;
    std::uint32_t unsolicited = 0;  // up to there, without an R2T
    if (out) {
        const std::uint32_t most = std::min(first_burst_, command->transfer);
        if (immediate_data_)
            immediate = random_() % 2 == 0 ? most : static_cast<std::uint32_t>(random_() % most);
        if (!initial_r2t_ && random_() % 2 == 0) unsolicited = most;
        if (unsolicited <= immediate) unsolicited = 0;
    }
    std::uint8_t flags = static_cast<std::uint8_t>(1 + (random_() % 6 == 0 ? random_() % 3 : 0));
    if (unsolicited == 0) flags |= kFinal;
    if (out) flags |= kCommandWrite;
    if (command->kind == SimCommand::Kind::read) flags |= kCommandRead;
    command->asked_end = std::max(immediate, unsolicited);
    transmit(Opcode::scsi_command, flags, Bytes(command->out()).first(immediate),
             [&](BhsWriter& writer) {
                 writer.itt(command->itt).be32(20, command->transfer).be32(24, cmd_sn_++);
                 for (std::size_t i = 0; i < cdb.size(); ++i) writer.byte(32 + i, cdb[i]);
             });
    if (unsolicited > 0)
        sequences_.push_back({command->itt, kReservedTag, immediate, unsolicited, 0});
    if (command->kind == SimCommand::Kind::read) command->data.resize(command->length);
    commands_[command->itt] = std::move(command);
}

void Initiator::send_some() {
    if (sequences_.empty()) return;
    // Any command's, but the oldest of that command: DataSequenceInOrder is Yes.
    const std::uint32_t itt = sequences_[random_() % sequences_.size()].itt;
    const auto which = std::find_if(sequences_.begin(), sequences_.end(),
                                    [itt](const Sequence& each) { return each.itt == itt; });
    Sequence& sequence = *which;
    // Data of a command that was given up is still owed where the target waits for it.
    static const std::vector<std::uint8_t> nothing(1U << 20);
    const auto found = commands_.find(sequence.itt);
    const Bytes source = found == commands_.end() ? Bytes(nothing) : Bytes(found->second->out());
    const std::uint32_t left = sequence.end - sequence.offset;
    const std::uint32_t step =
        random_() % 2 == 0 ? left : 1 + static_cast<std::uint32_t>(random_() % left);
    const bool last = step == left;
    transmit(Opcode::data_out, last ? kFinal : std::uint8_t{0},
             source.subspan(sequence.offset, step), [&](BhsWriter& writer) {
                 writer.itt(sequence.itt)
                     .ttt(sequence.ttt)
                     .be32(36, sequence.data_sn++)
                     .be32(40, sequence.offset);
             });
    sequence.offset += step;
    if (last) sequences_.erase(which);
}

void Initiator::abort_one(bool old_only) {
    constexpr std::uint64_t kOldTurns = 300;
    if (tasks_.size() >= kMaxTaskRequests) return;
    for (auto& [itt, command] : commands_) {
        if (command->aborting || (old_only && turns_ - command->begun < kOldTurns)) continue;
        command->aborting = true;
        const std::uint32_t tag = next_itt_++;
        tasks_[tag] = {1, itt, {itt}};
        transmit(
            Opcode::task_management, kFinal | 1, {},
            [&, referenced = itt](BhsWriter& writer) {
                writer.itt(tag).be32(20, referenced).be32(24, cmd_sn_).be32(32, cmd_sn_ - 1);
            },
            true);
        return;
    }
}

void Initiator::manage(unsigned function) {
    if (tasks_.size() >= kMaxTaskRequests) return;
    const std::uint32_t tag = next_itt_++;
    TaskRequest request{function, kReservedTag, {}};
    for (const auto& [itt, command] : commands_) request.affected.insert(itt);
    tasks_[tag] = std::move(request);
    transmit(
        Opcode::task_management, static_cast<std::uint8_t>(kFinal | function), {},
        [&](BhsWriter& writer) { writer.itt(tag).be32(20, kReservedTag).be32(24, cmd_sn_); }, true);
}

void Initiator::nop() {
    const std::uint32_t tag = next_itt_++;
    auto& data = nops_[tag];
    data.assign(random_() % 300, static_cast<std::uint8_t>(tag));
    transmit(Opcode::nop_out, kFinal, data,
             [&](BhsWriter& writer) { writer.itt(tag).ttt(kReservedTag).be32(24, cmd_sn_++); });
}

void Initiator::logout() {
    logging_out_ = true;
    transmit(Opcode::logout, kFinal, {},
             [&](BhsWriter& writer) { writer.itt(next_itt_++).be32(24, cmd_sn_++); });
}

void Initiator::cut() {
    wire_->initiator_gone = true;
    auto& sent = wire_->to_target;
    if (random_() % 2 == 0) sent.resize(random_() % (sent.size() + 1));
    lost();
}

// What is pending may have been done or not; nobody knows until the target has dropped the old
// session, which the next login makes sure of.
void Initiator::lost() {
    wire_.reset();
    logged_in_ = false;
    unknown_.merge(commands_);
    commands_.clear();
    sequences_.clear();
    tasks_.clear();
    nops_.clear();
    failed_late_.clear();
}

// ---- In

void Initiator::receive(std::size_t bytes) {
    ++turns_;
    auto& from = wire_->to_initiator;
    bytes = std::min(bytes, from.size());
    received_.insert(received_.end(), from.begin(),
                     from.begin() + static_cast<std::ptrdiff_t>(bytes));
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(bytes));
    std::size_t at = 0;
    while (wire_ != nullptr) {
        const Bytes rest = Bytes(received_).subspan(at);
        if (rest.size() < kBhsBytes) break;
        const Bhs bhs(rest.data());
        require(bhs.ahs_bytes() == 0, "an AHS from the target");
        const std::size_t head = kBhsBytes + (header_digest_ ? kDigestBytes : 0);
        const std::size_t data = bhs.data_length();
        const std::size_t whole =
            head + (data > 0 ? padded(data) + (data_digest_ ? kDigestBytes : 0) : 0);
        if (rest.size() < whole) break;
        if (header_digest_)
            require(load_le32(rest.data() + kBhsBytes) == crc32c(rest.first(kBhsBytes)),
                    "a wrong header digest");
        if (data_digest_ && data > 0)
            require(load_le32(rest.data() + head + padded(data)) ==
                        crc32c(rest.subspan(head, padded(data))),
                    "a wrong data digest");
        take_pdu(bhs, rest.subspan(head, data));
        at += whole;
    }
    if (wire_ == nullptr) return received_.clear();
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(at));
    if (wire_->target_gone && wire_->to_initiator.empty()) {
        wire_->initiator_gone = true;
        lost();
    }
}

void Initiator::take_pdu(Bhs bhs, Bytes data) {
    if (!logged_in_) {
        require(bhs.opcode() == Opcode::login_response, "no login response after a login request");
        return login_response(bhs, data);
    }
    switch (bhs.opcode()) {
        case Opcode::data_in:
            return data_in(bhs, data);
        case Opcode::r2t:
            return r2t(bhs);
        case Opcode::scsi_response:
            check_numbers(bhs, true);
            return scsi_response(bhs, data);
        case Opcode::task_management_response:
            check_numbers(bhs, true);
            return task_response(bhs);
        case Opcode::nop_in: {
            check_numbers(bhs, bhs.itt() != kReservedTag);
            if (bhs.itt() == kReservedTag) {
                require(bhs.ttt() != kReservedTag, "a ping without a tag");
                return transmit(
                    Opcode::nop_out, kFinal, {},
                    [&](BhsWriter& writer) {
                        writer.lun(bhs.lun()).itt(kReservedTag).ttt(bhs.ttt()).be32(24, cmd_sn_);
                    },
                    true);
            }
            const auto found = nops_.find(bhs.itt());
            require(found != nops_.end(), "a NOP-In that nobody asked for");
            require(
                std::equal(data.begin(), data.end(), found->second.begin(), found->second.end()),
                "a NOP that is no echo");
            nops_.erase(found);
            return;
        }
        case Opcode::logout_response:
            check_numbers(bhs, true);
            require(logging_out_ && bhs.bytes()[2] == 0, "a logout that was refused");
            return;
        default:
            throw Broken("a PDU that was not expected: opcode " +
                         std::to_string(static_cast<int>(bhs.opcode())) + ", reason " +
                         std::to_string(bhs.bytes()[2]) + ", about " + format_binary(data));
    }
}

void Initiator::login_response(Bhs bhs, Bytes data) {
    if (load_be16(bhs.bytes() + 36) != 0) {  // refused: another try
        wire_->initiator_gone = true;
        return lost();
    }
    const auto keys = parse_text(as_text(data));
    require(keys.has_value(), "a login response that is malformed");
    for (const KeyValue& pair : *keys) {
        if (pair.key == "InitialR2T") initial_r2t_ = pair.value == "Yes";
        if (pair.key == "ImmediateData") immediate_data_ = pair.value == "Yes";
        if (pair.key == "HeaderDigest") header_digest_ = pair.value == "CRC32C";
        if (pair.key == "DataDigest") data_digest_ = pair.value == "CRC32C";
        if (pair.key == "MaxBurstLength")
            max_burst_ = static_cast<std::uint32_t>(*parse_number(pair.value));
        if (pair.key == "FirstBurstLength")
            first_burst_ = static_cast<std::uint32_t>(*parse_number(pair.value));
        if (pair.key == "MaxOutstandingR2T")
            max_r2t_ = static_cast<std::uint32_t>(*parse_number(pair.value));
    }
    first_burst_ = std::min(first_burst_, max_burst_);
    logged_in_ = true;
    exp_stat_sn_ = load_be32(bhs.bytes() + 24) + 1;
    exp_cmd_sn_ = load_be32(bhs.bytes() + 28);
    max_cmd_sn_ = load_be32(bhs.bytes() + 32);
    require(exp_cmd_sn_ == cmd_sn_, "a session that begins with another CmdSN");
    // The old session is gone, whatever its commands did is done.
    for (auto& [itt, command] : unknown_) ended_(*command, SimCommand::End::unknown);
    unknown_.clear();
}

void Initiator::check_numbers(Bhs bhs, bool takes_stat_sn) {
    const std::uint32_t stat_sn = load_be32(bhs.bytes() + 24);
    const std::uint32_t exp_cmd_sn = load_be32(bhs.bytes() + 28);
    const std::uint32_t max_cmd_sn = load_be32(bhs.bytes() + 32);
    require(stat_sn == exp_stat_sn_, "a StatSN out of its order");
    if (takes_stat_sn) ++exp_stat_sn_;
    require(!sn_less(exp_cmd_sn, exp_cmd_sn_) && !sn_less(cmd_sn_, exp_cmd_sn),
            "an ExpCmdSN that goes back, or past what was sent");
    require(!sn_less(max_cmd_sn, max_cmd_sn_) && !sn_less(max_cmd_sn, exp_cmd_sn - 1),
            "a MaxCmdSN that goes back");
    exp_cmd_sn_ = exp_cmd_sn;
    max_cmd_sn_ = max_cmd_sn;
}

SimCommand& Initiator::pending(std::uint32_t itt, const char* what) {
    const auto found = commands_.find(itt);
    require(found != commands_.end(), std::string(what) + " for no command that is pending");
    return *found->second;
}

void Initiator::data_in(Bhs bhs, Bytes data) {
    const bool status = (bhs.flags() & kDataInStatus) != 0;
    if (status) check_numbers(bhs, true);
    SimCommand& command = pending(bhs.itt(), "Data-In");
    require(command.kind == SimCommand::Kind::read, "Data-In for no read");
    require(bhs.data_sn() == command.data_sn++, "a DataSN out of its order");
    require(bhs.buffer_offset() == command.got, "Data-In out of its order");
    require(data.size() <= max_segment_, "a data segment over what was declared");
    require(data.size() <= command.length - command.got, "more Data-In than was asked for");
    std::copy(data.begin(), data.end(), command.data.begin() + command.got);
    command.got += static_cast<std::uint32_t>(data.size());
    if (!status) return;
    require(command.got == command.length && bhs.bytes()[3] == 0, "a read that came short");
    end(bhs.itt(), SimCommand::End::good);
}

void Initiator::r2t(Bhs bhs) {
    check_numbers(bhs, false);
    SimCommand& command = pending(bhs.itt(), "R2T");
    const std::uint32_t offset = load_be32(bhs.bytes() + 40);
    const std::uint32_t length = load_be32(bhs.bytes() + 44);
    require(writes(command), "an R2T for no write");
    require(bhs.data_sn() == command.data_sn++, "an R2TSN out of its order");
    require(offset == command.asked_end && length > 0 && length <= max_burst_ &&
                length <= command.transfer - offset,
            "an R2T for other data than is next");
    const auto open = std::count_if(sequences_.begin(), sequences_.end(), [&](const auto& each) {
        return each.itt == bhs.itt() && each.ttt != kReservedTag;
    });
    require(static_cast<std::uint32_t>(open) < max_r2t_, "more R2Ts than were agreed");
    command.asked_end += length;
    sequences_.push_back({bhs.itt(), bhs.ttt(), offset, offset + length, 0});
}

void Initiator::scsi_response(Bhs bhs, Bytes data) {
    const std::uint8_t status = bhs.bytes()[3];
    if (failed_late_.erase(bhs.itt()) > 0)
        return require(status != 0, "a command that a reset ended is told to be good");
    SimCommand& command = pending(bhs.itt(), "a response");
    require((bhs.flags() & ~kFinal & (kUnderflow | kOverflow)) == 0 || status != 0,
            "a residual of a command that was exact");
    if (status == 0) {
        require(command.kind != SimCommand::Kind::read, "a read that is good without its data");
        return end(bhs.itt(), SimCommand::End::good);
    }
    require(status == 0x02 && data.size() >= 16, "an odd status " + std::to_string(status));
    require((data[4] & 0x0f) == 6, "sense key " + std::to_string(data[4] & 0x0f) + ", ASC " +
                                       std::to_string(data[14]) + "/" + std::to_string(data[15]));
    end(bhs.itt(), SimCommand::End::not_done);
}

void Initiator::task_response(Bhs bhs) {
    const auto found = tasks_.find(bhs.itt());
    require(found != tasks_.end(), "an answer to no task management request");
    const TaskRequest request = std::move(found->second);
    tasks_.erase(found);
    const std::uint8_t answer = bhs.bytes()[2];
    require(answer == 0 || (answer == 1 && request.function == 1),
            "task management fails: " + std::to_string(answer));
    for (const std::uint32_t itt : request.affected) {
        if (!commands_.contains(itt)) continue;
        // Its answer would have come before this one; now it may not come any more. One that had
        // failed already, and only waits for its data, is not in the task set of a reset.
        if (request.function != 1) failed_late_.insert(itt);
        end(itt, SimCommand::End::unknown);
    }
}

void Initiator::end(std::uint32_t itt, SimCommand::End how) {
    const auto found = commands_.find(itt);
    const std::unique_ptr<SimCommand> command = std::move(found->second);
    commands_.erase(found);
    // Asked-for data is owed no more; unsolicited data that was announced is.
    std::erase_if(sequences_, [itt](const Sequence& each) {
        return each.itt == itt && each.ttt != kReservedTag;
    });
    ended_(*command, how);
}

}  // namespace goldlink::sim
