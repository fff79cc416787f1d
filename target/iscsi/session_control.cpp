// The requests that are not SCSI commands: NOP, text, logout, and the messages a target sends on
// its own (RFC 7143 11.9 to 11.19).
#include <algorithm>

#include "common/log.hpp"
#include "target/iscsi/session_connection.hpp"

namespace goldlink::iscsi {

// --- NOP ---

void SessionConnection::nop_out(const Pdu& pdu) {
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

void SessionConnection::ping() {
    if (++ping_tag_ == kReservedTag) ping_tag_ = 1;
    ping_outstanding_ = true;
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::nop_in, kFinal, false).itt(kReservedTag).ttt(ping_tag_);
    push(pdu);
}

// --- Text ---

void SessionConnection::text(const Pdu& pdu) {
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
void SessionConnection::send_text(std::uint32_t itt, std::uint64_t lun, bool final_asked) {
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

bool SessionConnection::answer_text(std::string_view text, std::string& response) {
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
bool SessionConnection::discovers(const TargetEntry& entry) const {
    if (session_.target() != nullptr || entry.credentials.empty()) return true;
    const auto& credential = session_.discovery_credential();
    if (!credential) return !entry.allowed_initiators.empty();
    return std::any_of(
        entry.credentials.begin(), entry.credentials.end(), [&](const Credential& c) {
            return c.username == credential->username && c.secret == credential->secret;
        });
}

// RFC 7143 appendix C. "All" is for discovery sessions alone; nothing means the session's target.
bool SessionConnection::send_targets(std::string_view value, std::string& response) const {
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
        if (session_.target() != nullptr) return false;
        for (const auto& entry : environment_.directory.list_targets(session_.initiator_name()))
            if (discovers(*entry)) append_target(*entry);
        return true;
    }
    const std::string wanted = value.empty() ? session_.target_name() : fold_name(value);
    if (wanted.empty() || (session_.target() != nullptr && wanted != session_.target_name()))
        return false;
    for (const auto& entry : environment_.directory.list_targets(session_.initiator_name()))
        if (fold_name(entry->iqn) == wanted && discovers(*entry)) append_target(*entry);
    return true;  // an unknown target gives an empty answer
}

// --- Logout (11.14) ---

void SessionConnection::logout(const Pdu& pdu) {
    enum : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };
    const Bhs bhs = pdu.bhs;
    const std::uint8_t reason = bhs.flags() & 0x7f;
    if (reason > remove_for_recovery) return reject(pdu, RejectReason::invalid_pdu_field);
    if (!session_.may_log_out()) return reject(pdu, RejectReason::out_of_resources);
    if (reason == remove_for_recovery)  // needs ErrorRecoveryLevel 2
        return send_logout_response(bhs.itt(), LogoutResponse::recovery_not_supported);
    if (reason == close_session) return session_.log_out(*this, bhs.itt(), nullptr);
    SessionConnection* closing = session_.find(bhs.cid());
    if (closing == nullptr) return send_logout_response(bhs.itt(), LogoutResponse::cid_not_found);
    session_.log_out(*this, bhs.itt(), closing);
}

void SessionConnection::send_logout_response(std::uint32_t itt, LogoutResponse response) {
    OutputPdu& answer = new_pdu();
    number(answer, Opcode::logout_response, kFinal, true)
        .byte(2, static_cast<std::uint8_t>(response))
        .itt(itt)
        .be16(40, static_cast<std::uint16_t>(parameters_.default_time2wait))
        .be16(42, static_cast<std::uint16_t>(parameters_.default_time2retain));
    push(answer);
}

// --- What a target says on its own ---

void SessionConnection::reject(const Pdu& pdu, RejectReason reason) {
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

void SessionConnection::async_message(AsyncEvent event, std::uint16_t parameter3) {
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::async_message, kFinal, true)
        .itt(kReservedTag)
        .byte(36, static_cast<std::uint8_t>(event))
        .be16(42, parameter3);
    push(pdu);
}

void SessionConnection::request_logout(std::uint16_t seconds) {
    if (closing_) return;
    if (!session_.attached()) return end(SessionEnd::logout);  // discovery has nothing to finish
    async_message(AsyncEvent::logout_requested, seconds);
}

void SessionConnection::announce_session_end() { async_message(AsyncEvent::session_dropped, 0); }

std::uint32_t SessionConnection::send_task_management_response(std::uint32_t itt,
                                                               scsi::TaskManagementAnswer answer) {
    OutputPdu& pdu = new_pdu();
    number(pdu, Opcode::task_management_response, kFinal, true)
        .byte(2, static_cast<std::uint8_t>(answer))
        .itt(itt);
    push(pdu);
    return stat_sn_;
}

}  // namespace goldlink::iscsi
