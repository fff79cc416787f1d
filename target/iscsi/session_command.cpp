// SCSI commands from arrival to response (RFC 7143 11.3, 11.4, 11.7).
#include <algorithm>

#include "target/iscsi/session_connection.hpp"

namespace goldlink::iscsi {

namespace {

// Sense data that iSCSI itself raises (RFC 7143 11.4.7.2).
constexpr std::uint8_t kAbortedCommand = 0x0b;

bool stores_data(std::uint8_t operation_code) {
    switch (operation_code) {
        case 0x0a:  // WRITE (6)
        case 0x2a:  // WRITE (10)
        case 0xaa:  // WRITE (12)
        case 0x8a:  // WRITE (16)
        case 0x2e:  // WRITE AND VERIFY (10)
        case 0xae:  // WRITE AND VERIFY (12)
        case 0x8e:  // WRITE AND VERIFY (16)
        case 0x41:  // WRITE SAME (10)
        case 0x93:  // WRITE SAME (16)
        case 0x89:  // COMPARE AND WRITE
        case 0x8b:  // ORWRITE
        case 0x9c:  // WRITE ATOMIC (16)
        case 0x42:  // UNMAP
        case 0x48:  // SANITIZE
        case 0x83:  // THIRD-PARTY COPY OUT
            return true;
        default:
            return false;
    }
}

struct Residual {
    std::uint8_t flags = 0;
    std::uint32_t count = 0;
};

// RFC 7143 11.4.5: `actual` is what the command would transfer, `expected` what the initiator said.
Residual residual_of(std::uint32_t expected, std::uint32_t actual, std::uint8_t underflow,
                     std::uint8_t overflow) {
    if (actual < expected) return {underflow, expected - actual};
    if (actual > expected) return {overflow, actual - expected};
    return {};
}

}  // namespace

void SessionConnection::scsi_command(const Pdu& pdu) {
    const Bhs bhs = pdu.bhs;
    const std::uint8_t flags = bhs.flags();
    const std::uint8_t attribute = flags & kCommandAttributes;
    const bool writes = (flags & kCommandWrite) != 0;
    const std::uint32_t itt = bhs.itt();

    if (!session_.attached()) return reject(pdu, RejectReason::protocol_error);
    if (itt == kReservedTag || attribute > 4 || (!pdu.data.empty() && !writes) ||
        (writes && !bhs.final() && parameters_.initial_r2t))
        return reject(pdu, RejectReason::invalid_pdu_field);
    CommandTable& commands = session_.commands();
    if (commands.find(itt) != nullptr) return reject(pdu, RejectReason::task_in_progress);
    if (bhs.immediate() && !session_.has_immediate_room())
        return reject(pdu, RejectReason::too_many_immediate);
    environment_.counters.commands.add();
    Command* allocated = commands.allocate(itt);
    if (allocated == nullptr) return refuse_command(bhs, scsi::Status::task_set_full);

    Command& command = *allocated;
    command.connection = this;
    ++tasks_;
    command.state = Command::State::draining;
    command.immediate = bhs.immediate();
    session_.enter_window(command);
    command.reads = (flags & kCommandRead) != 0;
    command.writes = writes;
    command.unsolicited_open = writes && !bhs.final();
    command.digest_error = false;
    command.expected_length = bhs.expected_data_length();
    command.data_pdus = 0;
    command.wanted = 0;
    command.received = static_cast<std::uint32_t>(pdu.data.size());
    command.sequence_end = std::min(parameters_.first_burst_limit(), command.expected_length);
    command.sequence_data_sn = 0;
    command.r2t_sn = 0;
    command.r2t_done = 0;

    scsi::Task& task = command.task;
    task = {};
    std::memcpy(task.cdb.data(), bhs.cdb(), task.cdb.size());
    task.lun = bhs.lun();
    task.attribute = static_cast<scsi::TaskAttribute>(attribute);
    task.nexus = session_.nexus();
    task.offered_out = writes ? command.expected_length : 0;
    task.offered_in = command.reads && !writes ? command.expected_length : 0;
    // A data digest must be of the bytes that are sent: those of a buffer of our own.
    task.may_lend = command.reads && !parameters_.data_digest;
    task.complete = &SessionConnection::completed;
    task.owner = &command;
    if (!pdu.ahs.empty() && !read_ahs(pdu, command)) {
        release(command);  // its unsolicited data, if any, is dropped as it comes
        return reject(pdu, RejectReason::invalid_pdu_field);
    }

    // RFC 7143 11.4.7.2: more data than was agreed.
    if (!pdu.data.empty() && !parameters_.immediate_data)
        return fail_early(command, kAbortedCommand, 0x0c, 0x0c);
    if (command.received > command.sequence_end)
        return fail_early(command, kAbortedCommand, 0x0c, 0x0d);

    if (writes && stores_data(task.cdb[0])) session_.stores_data();
    if (session_.device().prepare(task) == scsi::Step::finished) {
        if (!command.unsolicited_open) respond(command);
        return;
    }
    command.state = Command::State::collecting;
    if (writes)
        start_data_out(command, pdu);
    else
        execute(command);
}

// Additional header segments (11.2.2): a long CDB, or the read length of a bidirectional command.
bool SessionConnection::read_ahs(const Pdu& pdu, Command& command) {
    ByteReader reader(pdu.ahs);
    while (!reader.empty()) {
        const std::uint16_t length = reader.be16();
        const auto type = static_cast<AhsType>(reader.u8());
        const Bytes content = reader.bytes(length);
        if (!reader.ok() || length == 0) return false;
        // The three bytes of length and type and the content are padded to whole words.
        reader.skip(padding(std::size_t{3} + length));
        if (type == AhsType::extended_cdb) {
            auto& long_cdbs = session_.long_cdbs();
            if (long_cdbs.size() <= command.index) long_cdbs.resize(command.index + std::size_t{1});
            auto& whole = long_cdbs[command.index];
            whole.assign(command.task.cdb.begin(), command.task.cdb.end());
            whole.insert(whole.end(), content.begin() + 1, content.end());  // one reserved byte
            command.task.long_cdb = whole;
        } else if (type == AhsType::bidirectional_read_length && length == 5) {
            if (command.reads && command.writes)
                command.task.offered_in = load_be32(content.data() + 1);
        } else {
            return false;
        }
    }
    return true;
}

bool SessionConnection::ensure_buffer(Command& command) {
    const std::size_t bytes = std::max(command.task.data_out_length, command.task.data_in_length);
    if (bytes == 0 || command.buffer.capacity_bytes >= bytes) return true;
    // Counted when it matters: a window of commands below this size cannot reach the bound.
    constexpr std::size_t kCountFrom = Session::kMaxBufferBytes / CommandTable::kMaxCommands;
    if (bytes > kCountFrom) {
        std::size_t held = bytes;
        session_.commands().for_each(
            [&held](const Command& c) { held += c.buffer.capacity_bytes; });
        if (held > Session::kMaxBufferBytes) return false;
    }
    const Buffer larger = environment_.buffers.take(bytes);
    if (!larger) return false;
    const std::size_t have = std::min(command.received, command.wanted);
    if (command.buffer && have > 0) std::memcpy(larger.data, command.buffer.data, have);
    environment_.buffers.give(command.buffer);
    command.buffer = larger;
    return true;
}

void SessionConnection::execute(Command& command) {
    const SessionTable::Hold hold(session_);
    if (!ensure_buffer(command)) {
        // Memory for data is bounded; BUSY makes the initiator come again.
        session_.device().abandon(command.task);
        return finish_with(command, scsi::Status::busy);
    }
    command.task.buffer = command.buffer.data;
    command.state = Command::State::executing;
    if (session_.device().execute(command.task) == scsi::Step::finished) finish(command);
}

void SessionConnection::completed(scsi::Task& task) noexcept {
    auto& command = *static_cast<Command*>(task.owner);
    command.connection->finish(command);
}

void SessionConnection::finish(Command& command) {
    command.state = Command::State::draining;
    if (!command.task.aborted && !closing_) [[likely]] {
        respond(command);
        if (!session_.task_management().idle()) [[unlikely]]
            session_.task_ended();
        return;
    }
    release(command);
    if (drained()) transport_.output_pending();
    session_.task_ended();
}

// Ends a command that the device does not have, or has no more.
void SessionConnection::finish_with(Command& command, scsi::Status status) {
    command.task.status = status;
    command.task.data_in_length = 0;
    command.task.data_out_length = 0;
    command.state = Command::State::draining;
    if (!command.unsolicited_open) respond(command);
}

void SessionConnection::fail_early(Command& command, std::uint8_t key, std::uint8_t asc,
                                   std::uint8_t ascq) {
    command.task.sense = {};
    command.task.sense.key = key;
    command.task.sense.asc = asc;
    command.task.sense.ascq = ascq;
    finish_with(command, scsi::Status::check_condition);
}

void SessionConnection::respond(Command& command) {
    if (session_.task_management().fences()) [[unlikely]] {
        command.state = Command::State::answered;
        return;
    }
    scsi::Task& task = command.task;
    session_.leave_window(command);
    environment_.counters.data_out_bytes.add(std::min(command.received, command.wanted));

    Residual residual;
    Residual bidirectional;
    std::uint32_t length = 0;
    if (command.reads && command.writes) {
        residual =
            residual_of(command.expected_length, task.data_out_length, kUnderflow, kOverflow);
        bidirectional = residual_of(task.offered_in, task.data_in_length, kBidirectionalUnderflow,
                                    kBidirectionalOverflow);
        length = std::min(task.data_in_length, task.offered_in);
    } else if (command.writes) {
        residual =
            residual_of(command.expected_length, task.data_out_length, kUnderflow, kOverflow);
    } else {
        // With neither R nor W there is no room for data of either direction.
        const std::uint32_t actual = command.reads
                                         ? task.data_in_length
                                         : std::max(task.data_in_length, task.data_out_length);
        residual = residual_of(task.offered_in, actual, kUnderflow, kOverflow);
        length = std::min(task.data_in_length, task.offered_in);
    }
    const bool collapse = length > 0 && task.status == scsi::Status::good && !command.writes;
    if (length > 0) send_data_in(command, length, collapse, residual.flags, residual.count);
    if (!collapse)
        send_scsi_response(command, static_cast<std::uint8_t>(residual.flags | bidirectional.flags),
                           residual.count, bidirectional.count);
    release(command);
}

void SessionConnection::send_data_in(Command& command, std::uint32_t length, bool with_status,
                                     std::uint8_t residual_flags, std::uint32_t residual) {
    environment_.counters.data_in_bytes.add(length);
    const disk::Request& request = command.task.request;
    const disk::LentRun buffered{command.buffer.data, length};
    const disk::LentRun* run = request.lent_count > 0 ? request.lent.data() : &buffered;
    std::uint32_t in_run = 0;
    const std::uint32_t segment = parameters_.initiator_max_recv_data_segment_length;
    std::uint32_t burst_left = parameters_.max_burst_length;
    for (std::uint32_t offset = 0; offset < length;) {
        const std::uint32_t step =
            std::min({segment, length - offset, burst_left, run->length_bytes - in_run});
        const bool last = offset + step == length;
        burst_left -= step;
        std::uint8_t flags = 0;
        if (last || burst_left == 0) {
            flags = kFinal;
            burst_left = parameters_.max_burst_length;
        }
        const bool status = last && with_status;
        if (status) flags = static_cast<std::uint8_t>(flags | kDataInStatus | residual_flags);

        OutputPdu& pdu = new_pdu();
        BhsWriter writer = number(pdu, Opcode::data_in, flags, status);
        writer.itt(command.itt).ttt(kReservedTag).be32(36, command.data_pdus++).be32(40, offset);
        if (status)
            writer.byte(3, static_cast<std::uint8_t>(command.task.status)).be32(44, residual);
        pdu.data = run->data + in_run;
        pdu.data_bytes = step;
        pdu.lent = request.lent_count > 0;
        in_run += step;
        if (in_run == run->length_bytes && !last) {
            ++run;
            in_run = 0;
        }
        if (last) {
            pdu.owned = command.buffer;
            command.buffer = {};
        }
        push(pdu);
        offset += step;
    }
}

void SessionConnection::send_scsi_response(Command& command, std::uint8_t residual_flags,
                                           std::uint32_t residual,
                                           std::uint32_t bidirectional_residual) {
    OutputPdu& pdu = new_pdu();
    const auto flags = static_cast<std::uint8_t>(kFinal | residual_flags);
    number(pdu, Opcode::scsi_response, flags, true)
        .byte(3, static_cast<std::uint8_t>(command.task.status))
        .itt(command.itt)
        .be32(36, command.data_pdus)
        .be32(40, bidirectional_residual)
        .be32(44, residual);
    if (command.task.status == scsi::Status::check_condition) {
        std::array<std::uint8_t, 64> sense;
        const std::size_t length =
            scsi::encode_sense(command.task.sense, command.task.descriptor_sense, sense);
        store_be16(pdu.inline_data.data(), static_cast<std::uint16_t>(length));
        std::memcpy(pdu.inline_data.data() + 2, sense.data(), length);
        pdu.data = pdu.inline_data.data();
        pdu.data_bytes = static_cast<std::uint32_t>(length + 2);
    }
    push(pdu);
}

// A command that gets no slot of the table.
void SessionConnection::refuse_command(Bhs bhs, scsi::Status status) {
    OutputPdu& pdu = new_pdu();
    const std::uint32_t expected = bhs.expected_data_length();
    const auto flags = static_cast<std::uint8_t>(kFinal | (expected > 0 ? kUnderflow : 0));
    number(pdu, Opcode::scsi_response, flags, true)
        .byte(3, static_cast<std::uint8_t>(status))
        .itt(bhs.itt())
        .be32(44, expected);
    push(pdu);
}

void SessionConnection::release(Command& command) {
    session_.leave_window(command);
    if (receives_into_ == &command) {  // its data is arriving, and its buffer goes
        stream_.discard_data();
        receives_into_ = nullptr;
    }
    environment_.buffers.give(command.buffer);
    command.buffer = {};
    if (!command.task.long_cdb.empty()) {
        session_.long_cdbs()[command.index] = {};
        command.task.long_cdb = {};
    }
    session_.commands().release(command);
    --tasks_;
}

// What a fence or a stopped transfer held back.
void SessionConnection::go_on(Command& command) {
    if (command.state == Command::State::answered) {
        command.state = Command::State::draining;
        return respond(command);
    }
    if (command.state == Command::State::collecting && !command.unsolicited_open &&
        command.received < command.wanted && command.r2t_sn == command.r2t_done)
        solicit(command);
}

}  // namespace goldlink::iscsi
