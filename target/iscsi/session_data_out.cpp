// Data for writes: immediate and unsolicited data, R2T and solicited Data-Out (RFC
// 7143 4.2.5, 11.7, 11.8). Everything must arrive in order; with ErrorRecoveryLevel 0 what does not
// fails its task.
#include <algorithm>

#include "target/iscsi/session_connection.hpp"

namespace goldlink::iscsi {

namespace {

constexpr std::uint8_t kAbortedCommand = 0x0b;

}  // namespace

// The command whose next data this is; null when the tags name none, or one of another connection.
Command* SessionConnection::command_of_data_out(Bhs bhs) const {
    Command* command = session_.commands().find(bhs.itt());
    if (command == nullptr || !command->writes || command->connection != this ||
        command->state == Command::State::executing || command->state == Command::State::answered)
        return nullptr;
    if (bhs.ttt() == kReservedTag) return command->unsolicited_open ? command : nullptr;
    if (command->unsolicited_open || command->r2t_done == command->r2t_sn ||
        bhs.ttt() != CommandTable::transfer_tag(*command, command->r2t_done))
        return nullptr;
    return command;
}

void SessionConnection::start_data_out(Command& command, const Pdu& pdu) {
    const SessionTable::Hold hold(session_);
    scsi::Task& task = command.task;
    command.wanted = std::min(task.offered_out, task.data_out_length);
    command.requested_end = command.received;
    const bool in_place =
        placed_ && pdu.data_placed &&
        placed_.capacity_bytes >= std::max(task.data_out_length, task.data_in_length);
    if (in_place) {
        command.buffer = placed_;
        placed_ = {};
    } else if (!ensure_buffer(command)) {
        session_.device().abandon(task);
        return finish_with(command, scsi::Status::busy);
    } else if (const std::size_t have = std::min<std::size_t>(pdu.data.size(), command.wanted);
               have > 0) {
        std::memcpy(command.buffer.data, pdu.data.data(), have);
    }
    if (command.unsolicited_open) return;
    if (command.received >= command.wanted)
        execute(command);
    else
        solicit(command);
}

// Sends as many R2Ts as may be outstanding and sets what the next sequence must look like.
void SessionConnection::solicit(Command& command) {
    // Nothing more is asked for what is to be aborted; what was asked for already still comes.
    const bool stopped =
        !session_.task_management().idle() && session_.task_management().stops(command);
    const std::uint32_t burst = parameters_.max_burst_length;
    while (!stopped && command.requested_end < command.wanted &&
           command.r2t_sn - command.r2t_done < parameters_.max_outstanding_r2t) {
        const std::uint32_t length = std::min(burst, command.wanted - command.requested_end);
        OutputPdu& pdu = new_pdu();
        number(pdu, Opcode::r2t, kFinal, false)
            .lun(command.task.lun)
            .itt(command.itt)
            .ttt(CommandTable::transfer_tag(command, command.r2t_sn++))
            .be32(36, command.data_pdus++)
            .be32(40, command.requested_end)
            .be32(44, length);
        command.requested_end += length;
        push(pdu);
    }
    command.sequence_end = command.received + std::min(burst, command.wanted - command.received);
    command.sequence_data_sn = 0;
}

void SessionConnection::data_out(const Pdu& pdu) {
    data_out_since_tick_ = true;
    const Bhs bhs = pdu.bhs;
    Command* found = command_of_data_out(bhs);
    if (found == nullptr) {
        // Data for a task that was aborted or has failed may still be on its way: dropped. Data of
        // a command that waits for its turn waits with it.
        const Command* other = session_.commands().find(bhs.itt());
        if (!session_.order().empty() && session_.order().holds_task(*this, bhs.itt())) {
            if (!session_.order().hold_data(*this, pdu))
                reject(pdu, RejectReason::out_of_resources);
        } else if (other != nullptr && other->connection != this) {
            reject(pdu, RejectReason::protocol_error);  // 4.2.4.1: connection allegiance
        } else if (!session_.attached() || other != nullptr) {
            reject(pdu, RejectReason::invalid_pdu_field);
        }
        return;
    }
    Command& command = *found;
    if (command.task.aborted && command.state == Command::State::collecting) {
        return drop(command);
    }
    const bool final = bhs.final();
    if (command.state == Command::State::draining) {
        if (!final) return;
        command.unsolicited_open = false;
        return respond(command);
    }

    const std::uint32_t offset = bhs.buffer_offset();
    const std::uint32_t length = bhs.data_length();
    if (pdu.data.size() != length) return;  // it was for a task that had gone when it began to come
    const bool in_order = bhs.data_sn() == command.sequence_data_sn && offset == command.received;
    const bool fits = in_order && length <= command.sequence_end - offset;
    if (!fits) {
        if (final) command.unsolicited_open = false;
        // A gap means that a PDU was lost; too much is 11.4.7.2's incorrect amount of data.
        return in_order ? fail_data_out(command, 0x0c, 0x0d) : fail_data_out(command, 0x4b, 0x00);
    }
    ++command.sequence_data_sn;
    command.received += length;
    if (!pdu.data_digest_ok)
        command.digest_error = true;
    else if (!pdu.data_placed && length > 0 && offset < command.wanted)
        std::memcpy(command.buffer.data + offset, pdu.data.data(),
                    std::min(length, command.wanted - offset));
    if (!final) return;

    if (command.unsolicited_open) {
        command.unsolicited_open = false;
        command.requested_end = command.received;
    } else {
        if (command.received != command.sequence_end) return fail_data_out(command, 0x0c, 0x0d);
        ++command.r2t_done;
    }
    if (command.received < command.wanted) return solicit(command);
    if (command.digest_error) return fail_data_out(command, 0x47, 0x05);
    execute(command);
}

void SessionConnection::fail_data_out(Command& command, std::uint8_t asc, std::uint8_t ascq) {
    const SessionTable::Hold hold(session_);
    session_.device().abandon(command.task);
    fail_early(command, kAbortedCommand, asc, ascq);
}

}  // namespace goldlink::iscsi
