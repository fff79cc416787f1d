// The requests that are not SCSI commands: NOP, text, logout, task management, and the messages a
// target sends on its own (RFC 7143 11.5 to 11.19).
#include <algorithm>

#include "common/log.hpp"
#include "target/iscsi/session.hpp"

namespace goldlink::iscsi {

// --- NOP ---

void Session::nop_out(const Pdu& pdu) {
    const Bhs bhs = pdu.bhs;
    if (bhs.itt() == kReservedTag) {
        // An answer to our ping, or only news of ExpStatSN (11.18).
        if (!bhs.immediate()) return reject(pdu, RejectReason::protocol_error);
        if (ping_outstanding_ && bhs.ttt() == ping_tag_) {
            ping_outstanding_ = false;
            answers_pings_ = true;
        }
        return;
    }
    const std::size_t length =
        std::min<std::size_t>(pdu.data.size(), parameters_.initiator_max_recv_data_segment_length);
    const Buffer echo = length > 0 ? environment_.buffers.take(length) : Buffer{};
    if (length > 0 && !echo) return reject(pdu, RejectReason::out_of_resources);
    OutputPdu& answer = new_pdu();
    number(answer, Opcode::nop_in, kFinal, true).lun(bhs.lun()).itt(bhs.itt()).ttt(kReservedTag);
    if (length > 0) {
        std::memcpy(echo.data, pdu.data.data(), length);
        answer.data = echo.data;
        answer.data_bytes = static_cast<std::uint32_t>(length);
        answer.owned = echo;
    }
    push(answer);
}

void Session::ping() {
    if (++ping_tag_ == kReservedTag) ping_tag_ = 1;
    ping_outstanding_ = true;
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::nop_in, kFinal, false).itt(kReservedTag).ttt(ping_tag_);
    push(pdu);
}

// --- Text ---

void Session::text(const Pdu& pdu) {
    const Bhs bhs = pdu.bhs;
    const bool final = bhs.final();
    const bool more = (bhs.flags() & kContinue) != 0;
    if (bhs.itt() == kReservedTag || (final && more))
        return reject(pdu, RejectReason::invalid_pdu_field);
    if (bhs.ttt() == kReservedTag) {  // a new negotiation; an older one is forgotten (11.10.4)
        text_in_.clear();
        text_out_.clear();
        text_answering_ = false;
        negotiation_.begin_sequence();
        if (++text_tag_ == kReservedTag) text_tag_ = 0;
    } else if (bhs.ttt() != text_tag_) {
        return reject(pdu, RejectReason::invalid_pdu_field);
    }
    if (text_answering_) {
        // 6.2: while our answer goes on, the initiator's requests for more of it are empty.
        if (!pdu.data.empty()) return reject(pdu, RejectReason::protocol_error);
        return send_text(bhs.itt(), bhs.lun(), final);
    }
    if (text_in_.size() + pdu.data.size() > kMaxTextBytes) {
        text_in_.clear();
        return reject(pdu, RejectReason::out_of_resources);
    }
    text_in_.append(as_text(pdu.data));
    if (!more) {
        const std::string whole = std::move(text_in_);
        text_in_.clear();
        if (!answer_text(whole, text_out_)) return reject(pdu, RejectReason::protocol_error);
    }
    send_text(bhs.itt(), bhs.lun(), final);
}

// Sends the next piece of the answer, as much as the initiator takes (6.2: C bit).
void Session::send_text(std::uint32_t itt, std::uint64_t lun, bool final_asked) {
    const std::size_t length =
        std::min<std::size_t>(text_out_.size(), parameters_.initiator_max_recv_data_segment_length);
    const bool last = length == text_out_.size();
    const Buffer buffer = length > 0 ? environment_.buffers.take(length) : Buffer{};
    const bool ends = last && final_asked;
    const std::uint8_t flags = ends ? kFinal : last ? std::uint8_t{0} : kContinue;
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::text_response, flags, true)
        .lun(lun)
        .itt(itt)
        .ttt(ends ? kReservedTag : text_tag_);
    if (buffer) {
        std::memcpy(buffer.data, text_out_.data(), length);
        pdu.data = buffer.data;
        pdu.data_bytes = static_cast<std::uint32_t>(length);
        pdu.owned = buffer;
    }
    text_out_.erase(0, length);
    text_answering_ = !last;
    push(pdu);
}

bool Session::answer_text(std::string_view text, std::string& response) {
    const auto keys = parse_text(text);
    if (!keys) return false;
    for (const KeyValue& pair : *keys) {
        if (negotiation_.offer(pair, Stage::full_feature, response) ==
            Negotiation::Outcome::repeated)
            return false;
        if (pair.key == "SendTargets" && !send_targets(pair.value, response))
            append_pair(response, "SendTargets", "Reject");
    }
    parameters_.initiator_max_recv_data_segment_length =
        negotiation_.parameters().initiator_max_recv_data_segment_length;
    return true;
}

// What this initiator may use. The list it comes from keeps to the links' lists of initiators; a
// link that lists none and asks for CHAP is shown to those alone who proved that they can log in.
bool Session::discovers(const TargetEntry& entry) const {
    if (target_ || entry.credentials.empty()) return true;
    if (!discovery_credential_) return !entry.allowed_initiators.empty();
    return std::any_of(entry.credentials.begin(), entry.credentials.end(),
                       [&](const Credential& c) {
                           return c.username == discovery_credential_->username &&
                                  c.secret == discovery_credential_->secret;
                       });
}

// RFC 7143 appendix C. "All" is for discovery sessions alone; nothing means the session's target.
bool Session::send_targets(std::string_view value, std::string& response) const {
    const auto append_target = [&](const TargetEntry& entry) {
        append_pair(response, "TargetName", entry.iqn);
        const std::string tag = "," + std::to_string(kPortalGroupTag);
        // Moved for good: nobody is to remember this place. Moved for now: the login tells where.
        if (entry.redirect && entry.redirect->permanent)
            return append_pair(response, "TargetAddress", entry.redirect->portal + tag);
        append_pair(response, "TargetAddress", portals_.local + tag);
        for (const std::string& other : portals_.others)
            if (other != portals_.local) append_pair(response, "TargetAddress", other + tag);
    };
    if (value == "All") {
        if (target_) return false;
        for (const auto& entry : environment_.directory.list_targets(info_.initiator_name))
            if (discovers(*entry)) append_target(*entry);
        return true;
    }
    const std::string wanted = value.empty() ? target_name_ : fold_name(value);
    if (wanted.empty() || (target_ && wanted != target_name_)) return false;
    for (const auto& entry : environment_.directory.list_targets(info_.initiator_name))
        if (fold_name(entry->iqn) == wanted && discovers(*entry)) append_target(*entry);
    return true;  // an unknown target gives an empty answer
}

// --- Logout (11.14) ---

void Session::logout(const Pdu& pdu) {
    enum : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };
    enum : std::uint8_t { closed = 0, cid_not_found = 1, recovery_not_supported = 2 };
    const Bhs bhs = pdu.bhs;
    const std::uint8_t reason = bhs.flags() & 0x7f;
    if (reason > remove_for_recovery) return reject(pdu, RejectReason::invalid_pdu_field);
    std::uint8_t response = closed;
    if (reason == remove_for_recovery)
        response = recovery_not_supported;
    else if (reason == close_connection && bhs.cid() != cid_)
        response = cid_not_found;
    OutputPdu& answer = new_pdu();
    number(answer, Opcode::logout_response, kFinal, true)
        .byte(2, response)
        .itt(bhs.itt())
        .be16(40, static_cast<std::uint16_t>(parameters_.default_time2wait))
        .be16(42, static_cast<std::uint16_t>(parameters_.default_time2retain));
    push(answer);
    if (response == closed) close(SessionEnd::logout);
}

// --- Task management (11.5, 11.6) ---

void Session::task_management(const Pdu& pdu) {
    using Function = scsi::TaskManagement;
    using Answer = scsi::TaskManagementAnswer;
    const Bhs bhs = pdu.bhs;
    if (!attached_ || !bhs.final()) return reject(pdu, RejectReason::protocol_error);
    if (pending_answers_.size() >= kMaxImmediate)
        return reject(pdu, RejectReason::too_many_immediate);
    environment_.counters.task_management.add();
    const auto function = static_cast<Function>(bhs.flags() & 0x7f);
    log::info("{}: {} asks for task management function {} on LUN {:016x}", info_.address,
              info_.initiator_name, static_cast<unsigned>(function), bhs.lun());

    Answer answer = Answer::not_supported;
    if (function == Function::task_reassign) {
        answer = Answer::reassign_not_supported;  // needs ErrorRecoveryLevel 2
    } else if (function == Function::abort_task) {
        Command* command = commands_.find(bhs.referenced_task_tag());
        if (command != nullptr && command->task.lun == bhs.lun() &&
            command->state != Command::State::draining) {
            answer = device_->manage(*nexus_, function, bhs.lun(), &command->task);
        } else if (command != nullptr && command->task.lun == bhs.lun()) {
            release(*command);  // its status was known, its data still came
            answer = Answer::complete;
        } else if (bhs.ref_cmd_sn() == exp_cmd_sn_ && sn_less(bhs.ref_cmd_sn(), bhs.cmd_sn())) {
            // 11.5.1: the command never arrived; its CmdSN counts as received from here on.
            ++exp_cmd_sn_;
            answer = Answer::complete;
        } else {
            answer = Answer::task_does_not_exist;
        }
    } else if (static_cast<unsigned>(function) <=
               static_cast<unsigned>(Function::target_cold_reset)) {
        answer = device_->manage(*nexus_, function, bhs.lun(), nullptr);
    }

    // Tasks that wait for data go at once; the answer waits for those that the device works on.
    commands_.for_each([this](Command& command) {
        if (!command.task.aborted || command.counted_abort) return;
        if (command.state == Command::State::collecting) {
            device_->abandon(command.task);
            release(command);
        } else if (command.state == Command::State::executing) {
            command.counted_abort = true;
            ++aborts_in_flight_;
        }
    });
    const bool cold = function == Function::target_cold_reset && answer == Answer::complete;
    pending_answers_.push_back({bhs.itt(), answer, cold});
    if (aborts_in_flight_ == 0) finish_task_management();
}

void Session::finish_task_management() {
    bool cold = false;
    for (const PendingAnswer& pending : pending_answers_) {
        OutputPdu& pdu = new_pdu();
        number(pdu, Opcode::task_management_response, kFinal, true)
            .byte(2, static_cast<std::uint8_t>(pending.answer))
            .itt(pending.itt);
        push(pdu);
        cold = cold || pending.cold_reset;
    }
    pending_answers_.clear();
    if (!cold) return;
    // 11.5.1: TARGET COLD RESET ends every session of the target, this one included.
    std::vector<Session*> all;
    environment_.sessions.for_each_of_target(target_name_, [&](Session& s) { all.push_back(&s); });
    for (Session* session : all) session->end(SessionEnd::connection_lost);
}

// --- What a target says on its own ---

void Session::reject(const Pdu& pdu, RejectReason reason) {
    environment_.counters.rejects.add();
    const std::size_t length = kBhsBytes + pdu.ahs.size();
    const Buffer copy = environment_.buffers.take(length);
    OutputPdu& answer = new_pdu();
    number(answer, Opcode::reject, kFinal, true)
        .byte(2, static_cast<std::uint8_t>(reason))
        .itt(kReservedTag);
    if (copy) {
        std::memcpy(copy.data, pdu.bhs.bytes(), kBhsBytes);
        if (!pdu.ahs.empty()) std::memcpy(copy.data + kBhsBytes, pdu.ahs.data(), pdu.ahs.size());
        answer.data = copy.data;
        answer.data_bytes = static_cast<std::uint32_t>(length);
        answer.owned = copy;
    }
    push(answer);
}

void Session::async_message(AsyncEvent event, std::uint16_t parameter3) {
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::async_message, kFinal, true)
        .itt(kReservedTag)
        .byte(36, static_cast<std::uint8_t>(event))
        .be16(42, parameter3);
    push(pdu);
}

void Session::request_logout() {
    constexpr std::uint16_t kSecondsToLogOut = 1;  // Parameter3 of event 1
    if (!ending_ && attached_) async_message(AsyncEvent::logout_requested, kSecondsToLogOut);
}

}  // namespace goldlink::iscsi
