#include "target/iscsi/session.hpp"

#include <algorithm>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/iscsi/connection.hpp"

namespace goldlink::iscsi {

namespace {

// RFC 7143 4.4.1: the SCSI name of an initiator port.
std::string initiator_port(const SessionInfo& info) {
    return fmt::format("{},i,0x{:012x}", info.initiator_name, info.isid);
}

}  // namespace

Session::Session(Environment& environment, OutputQueue& output, Transport& transport, Login& login,
                 std::uint16_t tsih, Numbers numbers)
    : environment_(environment),
      output_(output),
      transport_(transport),
      target_(login.target()),
      target_name_(target_ ? fold_name(target_->iqn) : std::string()),
      info_{.initiator_name = login.initiator_name(),
            .isid = login.isid(),
            .tsih = tsih,
            .address = login.address(),
            .generation = login.generation()},
      discovery_credential_(login.discovery_credential()),
      cid_(login.cid()),
      negotiation_(login.take_negotiation()),
      parameters_(negotiation_.parameters()),
      stat_sn_(numbers.stat_sn),
      exp_cmd_sn_(numbers.exp_cmd_sn) {}

Session::~Session() {
    CHECK(commands_.size() == 0, "a session is destroyed with commands in flight");
    environment_.buffers.give(placed_);
    if (attached_) {
        environment_.sessions.remove(*this);
        environment_.counters.sessions.subtract();
        device_->close_nexus(nexus_);
        target_->endpoint->session_ended(*this, end_why_);
    }
    if (successor != nullptr) successor->predecessor_gone();
}

bool Session::attach() {
    device_ = target_->endpoint->session_started(info_, *this);
    if (device_ == nullptr) return false;
    nexus_ = device_->open_nexus(initiator_port(info_), kPortalGroupTag);
    attached_ = true;
    environment_.sessions.add(*this);
    environment_.counters.sessions.add();
    return true;
}

PduSink::Placement Session::place_data(Bhs bhs) {
    if (bhs.opcode() == Opcode::data_out) {
        Command* command = command_of_data_out(bhs);
        if (command == nullptr) {
            if (!held_.empty() && held_task(bhs.itt())) return {};
            return {.data = nullptr, .discard = true};
        }
        if (command->state == Command::State::draining) return {.data = nullptr, .discard = true};
        const std::uint64_t end = std::uint64_t{bhs.buffer_offset()} + bhs.data_length();
        if (end > command->wanted) return {};
        command->placing = true;
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

bool Session::receive(const Pdu& pdu) {
    received_since_tick_ = true;
    if (ending_) {
        environment_.buffers.give(placed_);
        placed_ = {};
        return true;
    }
    const Bhs bhs = pdu.bhs;
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
        if (!held_.empty()) replay_held();
    }
    if (placed_) {  // the command did not take it
        environment_.buffers.give(placed_);
        placed_ = {};
    }
    return !input_paused();
}

// Puts commands in CmdSN order (4.2.2.1) and hands each request to its own function.
void Session::dispatch(const Pdu& pdu) {
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
        const std::uint32_t cmd_sn = bhs.cmd_sn();
        // Outside the window it must be ignored; inside, something before it may be missing.
        if (sn_less(cmd_sn, exp_cmd_sn_) || sn_less(max_cmd_sn(), cmd_sn)) return;
        if (cmd_sn != exp_cmd_sn_) {
            if (!hold(pdu)) reject(pdu, RejectReason::out_of_resources);
            return;
        }
        ++exp_cmd_sn_;
    }
    switch (bhs.opcode()) {
        case Opcode::scsi_command:
            return scsi_command(pdu);
        case Opcode::task_management:
            return task_management(pdu);
        case Opcode::text:
            return text(pdu);
        case Opcode::logout:
            return logout(pdu);
        default:
            return nop_out(pdu);
    }
}

bool Session::hold(const Pdu& pdu) {
    if (held_.size() == kMaxHeldPdus || held_bytes_ + pdu.data.size() > kMaxHeldBytes) return false;
    const Bhs bhs = pdu.bhs;
    HeldPdu held{.cmd_sn = bhs.cmd_sn(), .header = {}, .ahs = {}, .data = {}};
    if (bhs.opcode() == Opcode::data_out) {
        const auto owner = std::find_if(held_.begin(), held_.end(), [&](const HeldPdu& other) {
            return Bhs(other.header.data()).itt() == bhs.itt();
        });
        held.cmd_sn = owner->cmd_sn;
    }
    std::memcpy(held.header.data(), bhs.bytes(), kBhsBytes);
    held.ahs.assign(pdu.ahs.begin(), pdu.ahs.end());
    held.data.assign(pdu.data.begin(), pdu.data.end());
    held_bytes_ += held.data.size();
    held_.push_back(std::move(held));
    return true;
}

bool Session::held_task(std::uint32_t itt) const {
    return std::any_of(held_.begin(), held_.end(), [&](const HeldPdu& held) {
        const Bhs bhs(held.header.data());
        return bhs.opcode() == Opcode::scsi_command && bhs.itt() == itt;
    });
}

// The gap was filled: what waited behind it is next, with the Data-Out that followed it.
void Session::replay_held() {
    for (bool found = true; found && !ending_;) {
        found = false;
        const std::uint32_t cmd_sn = exp_cmd_sn_;
        for (std::size_t i = 0; i < held_.size();) {
            if (held_[i].cmd_sn != cmd_sn) {
                // A second copy of a command that has been executed meanwhile.
                if (sn_less(held_[i].cmd_sn, exp_cmd_sn_)) {
                    held_bytes_ -= held_[i].data.size();
                    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
                } else {
                    ++i;
                }
                continue;
            }
            const HeldPdu held = std::move(held_[i]);
            held_bytes_ -= held.data.size();
            held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
            environment_.buffers.give(placed_);
            placed_ = {};
            const Pdu pdu{.bhs = Bhs(held.header.data()), .ahs = held.ahs, .data = held.data};
            if (pdu.bhs.opcode() == Opcode::data_out)
                data_out(pdu);
            else
                dispatch(pdu);
            found = true;
        }
    }
}

void Session::framing_error(FramingError error, Bhs bhs) {
    if (ending_) return;
    if (error == FramingError::header_digest) {
        environment_.counters.digest_errors.add();
        log::warn("{}: header digest error on the session of {}; the connection is dropped",
                  info_.address, info_.initiator_name);
    } else {
        reject(Pdu{.bhs = bhs, .ahs = {}, .data = {}}, RejectReason::invalid_pdu_field);
        log::warn("{}: {} sent a data segment of {} bytes, over the {} we declared", info_.address,
                  info_.initiator_name, bhs.data_length(), kMaxRecvDataSegmentLength);
    }
    close(SessionEnd::protocol_error);
}

void Session::push(OutputPdu& pdu) {
    const bool was_empty = output_.empty();
    output_.push(pdu);
    if (was_empty) transport_.output_pending();
    if (output_.queued_bytes() >= kFlushBytes) transport_.flush();
}

// Starts a PDU with the numbers that every target PDU carries (11.x: StatSN, ExpCmdSN, MaxCmdSN).
BhsWriter Session::number(OutputPdu& pdu, Opcode opcode, std::uint8_t flags, bool takes_stat_sn) {
    BhsWriter writer(pdu.header.data(), opcode, flags);
    writer.stat_sn(stat_sn_).exp_cmd_sn(exp_cmd_sn_).max_cmd_sn(max_cmd_sn());
    if (takes_stat_sn) ++stat_sn_;
    return writer;
}

void Session::end(SessionEnd why) {
    if (ending_) return;
    if (why == SessionEnd::removed && attached_) async_message(AsyncEvent::session_dropped, 0);
    close(why);
}

void Session::transport_lost(SessionEnd why) {
    if (!ending_) close(why);
}

void Session::close(SessionEnd why) {
    ending_ = true;
    end_why_ = why;
    held_.clear();
    pending_answers_.clear();
    if (attached_) device_->nexus_lost(*nexus_);
    drop_commands();
    transport_.output_pending();
}

// What the device does not have is dropped; what it has completes, and then sends nothing.
void Session::drop_commands() {
    commands_.for_each([this](Command& command) {
        if (command.state == Command::State::executing) return;
        if (command.state == Command::State::collecting) device_->abandon(command.task);
        release(command);
    });
}

// Tasks that a reset by another session aborted while their data was awaited. One whose data is
// arriving right now keeps its buffer until the segment is whole: then data_out() drops it.
void Session::drop_aborted() {
    commands_.for_each([this](Command& command) {
        if (!command.task.aborted || command.state != Command::State::collecting) return;
        if (command.placing) return;
        device_->abandon(command.task);
        release(command);
    });
}

void Session::tick(std::uint64_t now_ms) {
    if (ending_) return;
    if (started_ms_ == 0) started_ms_ = now_ms;
    if (received_since_tick_) {
        received_since_tick_ = false;
        last_received_ms_ = now_ms;
    }
    if (!attached_) return;
    drop_aborted();
    const std::uint64_t silent_ms = now_ms - last_received_ms_;
    if (ping_outstanding_) {
        // An initiator that has never answered (iPXE) is not dropped for silence, but it goes
        // when the operating system it booted has a session of its own and this one sleeps.
        const std::uint64_t unanswered_ms = now_ms - ping_sent_ms_;
        if (answers_pings_ && unanswered_ms >= environment_.ping_timeout_ms &&
            silent_ms >= environment_.ping_timeout_ms)
            return close(SessionEnd::timeout);
        if (!answers_pings_ && silent_ms >= kSupersededMs &&
            environment_.sessions.has_live_successor(*this))
            return close(SessionEnd::timeout);
        return;
    }
    const bool first = ping_sent_ms_ == 0 && now_ms - started_ms_ >= kFirstPingMs;
    if (first || silent_ms >= environment_.ping_interval_ms) {
        ping_sent_ms_ = now_ms;
        ping();
    }
}

}  // namespace goldlink::iscsi
