#include "target/iscsi/session_connection.hpp"

#include <utility>

#include "common/check.hpp"
#include "common/log.hpp"

namespace goldlink::iscsi {

SessionConnection::SessionConnection(Session& session, Wire wire, Login& login,
                                     std::uint32_t stat_sn, PortalAddresses portals)
    : session_(session),
      environment_(session.environment()),
      output_(wire.output),
      transport_(wire.transport),
      stream_(wire.stream),
      cid_(login.cid()),
      negotiation_(login.take_negotiation()),
      parameters_(negotiation_.parameters()),
      portals_(std::move(portals)),
      address_(login.address()),
      stat_sn_(stat_sn),
      acknowledged_(stat_sn) {
    session_.add(*this);
}

SessionConnection::~SessionConnection() {
    CHECK(tasks_ == 0, "a connection is destroyed with commands in flight");
    environment_.buffers.give(placed_);
    session_.remove(*this);
}

PduSink::Placement SessionConnection::place_data(Bhs bhs) {
    if (bhs.opcode() == Opcode::data_out) {
        Command* command = command_of_data_out(bhs);
        if (command == nullptr) {
            if (!session_.order().empty() && session_.order().holds_task(*this, bhs.itt()))
                return {};
            return {.data = nullptr, .discard = true};
        }
        if (command->state == Command::State::draining) return {.data = nullptr, .discard = true};
        const std::uint64_t end = std::uint64_t{bhs.buffer_offset()} + bhs.data_length();
        if (end > command->wanted) return {};
        receives_into_ = command;
        return {.data = command->buffer.data + bhs.buffer_offset(), .discard = false};
    }
    if (bhs.opcode() == Opcode::scsi_command && bhs.data_length() <= bhs.expected_data_length()) {
        // Immediate data lands in what becomes the command's buffer; a huge transfer that begins
        // with little immediate data is not worth a buffer yet.
        constexpr std::uint32_t kMaxPlacedBytes = 1U << 20;
        const std::uint32_t room = bhs.expected_data_length();
        if (room <= kMaxPlacedBytes) {
            CHECK(!placed_, "immediate data of two commands at once");
            placed_ = environment_.buffers.take(room);
            return {.data = placed_.data, .discard = false};
        }
    }
    return {};
}

bool SessionConnection::receive(const Pdu& pdu) {
    received_since_tick_ = true;
    receives_into_ = nullptr;
    const Bhs bhs = pdu.bhs;
    if (closing_ || logging_out_) {
        environment_.buffers.give(placed_);
        placed_ = {};
        return true;
    }
    const std::uint32_t exp_stat_sn = bhs.exp_stat_sn();
    if (sn_less(acknowledged_, exp_stat_sn) && !sn_less(stat_sn_, exp_stat_sn))
        acknowledged_ = exp_stat_sn;
    if (!pdu.data_digest_ok) {
        environment_.counters.digest_errors.add();
        reject(pdu, RejectReason::data_digest_error);
        // RFC 7143 7.8: a command or other request is discarded unseen; a Data-Out is counted, and
        // its command fails once all of its data has come.
        if (bhs.opcode() == Opcode::data_out) data_out(pdu);
    } else if (bhs.opcode() == Opcode::data_out) {
        data_out(pdu);
    } else {
        dispatch(pdu);
    }
    if (placed_) {  // the command did not take it
        environment_.buffers.give(placed_);
        placed_ = {};
    }
    if (session_.waits()) [[unlikely]]
        session_.progress();
    return !input_paused();
}

// Puts commands in CmdSN order (4.2.2.1).
void SessionConnection::dispatch(const Pdu& pdu) {
    const Bhs bhs = pdu.bhs;
    switch (bhs.opcode()) {
        case Opcode::scsi_command:
        case Opcode::task_management:
        case Opcode::text:
        case Opcode::logout:
        case Opcode::nop_out:
            break;
        case Opcode::snack:
            return reject(pdu, RejectReason::snack_reject);
        case Opcode::login:
            return reject(pdu, RejectReason::protocol_error);
        default:
            return reject(pdu, RejectReason::command_not_supported);
    }
    if (!bhs.immediate()) {
        CommandOrder& order = session_.order();
        switch (order.turn_of(bhs.cmd_sn())) {
            case CommandOrder::Turn::now:
                order.take_turn();
                break;
            case CommandOrder::Turn::ahead:
                if (!order.hold(*this, pdu)) reject(pdu, RejectReason::out_of_resources);
                return;
            case CommandOrder::Turn::outside:
                return;
        }
    }
    handle(pdu);
}

void SessionConnection::handle(const Pdu& pdu) {
    switch (pdu.bhs.opcode()) {
        case Opcode::scsi_command:
            return scsi_command(pdu);
        case Opcode::data_out:
            return data_out(pdu);
        case Opcode::task_management:
            return session_.task_management().request(*this, pdu);
        case Opcode::text:
            return text(pdu);
        case Opcode::logout:
            return logout(pdu);
        default:
            return nop_out(pdu);
    }
}

void SessionConnection::framing_error(FramingError error, Bhs bhs) {
    if (closing_) return;
    if (error == FramingError::header_digest) {
        environment_.counters.digest_errors.add();
        log::warn("{}: header digest error on the session of {}; the session is dropped", address_,
                  session_.initiator_name());
    } else {
        reject(Pdu{.bhs = bhs, .ahs = {}, .data = {}}, RejectReason::invalid_pdu_field);
        log::warn("{}: {} sent a data segment of {} bytes, over the {} we declared", address_,
                  session_.initiator_name(), bhs.data_length(), kMaxRecvDataSegmentLength);
    }
    fail(SessionEnd::protocol_error);
}

void SessionConnection::push(OutputPdu& pdu) {
    const bool was_empty = output_.empty();
    output_.push(pdu);
    if (was_empty) transport_.output_pending();
    if (output_.queued_bytes() >= kFlushBytes) transport_.flush();
}

// Starts a PDU with the numbers that every target PDU carries (11.x: StatSN, ExpCmdSN, MaxCmdSN).
BhsWriter SessionConnection::number(OutputPdu& pdu, Opcode opcode, std::uint8_t flags,
                                    bool takes_stat_sn) {
    BhsWriter writer(pdu.header.data(), opcode, flags);
    const CommandOrder& order = session_.order();
    writer.stat_sn(stat_sn_).exp_cmd_sn(order.exp_cmd_sn()).max_cmd_sn(order.max_cmd_sn());
    if (takes_stat_sn) ++stat_sn_;
    return writer;
}

void SessionConnection::transport_lost(SessionEnd why) {
    if (!closing_) fail(why);
}

void SessionConnection::close() {
    closing_ = true;
    drop_tasks(false);
    session_.order().forget(*this);
    session_.task_management().forget(*this);
    transport_.output_pending();
}

void SessionConnection::drop_tasks(bool tell) {
    session_.commands().for_each([&](Command& command) {
        if (command.connection != this) return;
        if (tell && session_.attached())
            session_.device().tasks_lost(*session_.nexus(), command.task.lun);
        if (command.state == Command::State::executing)
            session_.device().manage(*session_.nexus(), scsi::TaskManagement::abort_task,
                                     command.task.lun, &command.task);
        else
            drop(command);
    });
}

void SessionConnection::drop(Command& command) {
    const SessionTable::Hold hold(session_);
    if (command.state == Command::State::collecting) session_.device().abandon(command.task);
    release(command);
}

// Data that was asked for must come: with ErrorRecoveryLevel 0 nothing asks again (RFC 7143 7.5).
bool SessionConnection::data_out_overdue(std::uint64_t now_ms) {
    bool collecting = false;
    if (tasks_ > 0)
        session_.commands().for_each([&](const Command& command) {
            collecting = collecting || (command.connection == this &&
                                        command.state == Command::State::collecting);
        });
    if (!collecting || std::exchange(data_out_since_tick_, false) || last_data_out_ms_ == 0) {
        last_data_out_ms_ = collecting ? now_ms : 0;
        return false;
    }
    return now_ms - last_data_out_ms_ >= environment_.data_out_timeout_ms;
}

void SessionConnection::tick(std::uint64_t now_ms) {
    if (closing_) return;
    if (started_ms_ == 0) started_ms_ = now_ms;
    if (received_since_tick_) {
        received_since_tick_ = false;
        last_received_ms_ = now_ms;
    }
    if (!session_.attached()) return;
    if (!session_.task_management().idle()) {
        session_.task_management().tick(now_ms);
        if (closing_) return;
    }
    if (data_out_overdue(now_ms)) {
        environment_.counters.slow_writers.add();
        log::warn("{}: {} was asked for the data of a write and sent none for {} ms; dropped",
                  address_, session_.initiator_name(), environment_.data_out_timeout_ms);
        return fail(SessionEnd::timeout);
    }
    const std::uint64_t silent_ms = now_ms - last_received_ms_;
    if (ping_outstanding_) {
        // An initiator that has never answered (iPXE) is not dropped for silence, but it goes
        // when the operating system it booted has a session of its own and this one sleeps.
        const std::uint64_t unanswered_ms = now_ms - ping_sent_ms_;
        if (answers_pings_ && unanswered_ms >= environment_.ping_timeout_ms &&
            silent_ms >= environment_.ping_timeout_ms) {
            environment_.counters.silent_peers.add();
            return fail(SessionEnd::timeout);
        }
        if (!answers_pings_ && silent_ms >= kSupersededMs &&
            environment_.sessions.has_live_successor(session_))
            return fail(SessionEnd::timeout);
        return;
    }
    const bool first = ping_sent_ms_ == 0 && now_ms - started_ms_ >= kFirstPingMs;
    if (first || silent_ms >= environment_.ping_interval_ms) {
        ping_sent_ms_ = now_ms;
        ping();
    }
}

}  // namespace goldlink::iscsi
