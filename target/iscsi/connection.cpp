#include "target/iscsi/connection.hpp"

#include "common/log.hpp"

namespace goldlink::iscsi {

Connection::Connection(Environment& environment, Transport& transport, std::string peer_address,
                       PortalAddresses portals)
    : environment_(environment),
      transport_(transport),
      output_(environment.output_pdus, environment.buffers),
      stream_(*this),
      portals_(std::move(portals)),
      login_(std::make_unique<Login>(environment.directory, environment.random,
                                     std::move(peer_address), portals_.local)) {
    stream_.set_max_data_segment(kLoginMaxDataSegmentLength);
}

Connection::~Connection() {
    if (predecessor_ != nullptr) predecessor_->successor = nullptr;
}

PduSink::Placement Connection::place_data(Bhs bhs) {
    return session_ ? session_->place_data(bhs) : PduSink::Placement{};
}

bool Connection::receive(const Pdu& pdu) {
    if (session_) return session_->receive(pdu);
    if (!closing_) login_request(pdu);
    return !closing() && !input_paused();
}

void Connection::framing_error(FramingError error, Bhs bhs) {
    if (session_) return session_->framing_error(error, bhs);
    std::memcpy(request_.data(), bhs.bytes(), kBhsBytes);
    refuse(LoginStatus::initiator_error, "login request over 8192 bytes");
}

void Connection::login_request(const Pdu& pdu) {
    std::memcpy(request_.data(), pdu.bhs.bytes(), kBhsBytes);
    if (pdu.bhs.opcode() != Opcode::login)
        return refuse(LoginStatus::invalid_during_login, "another PDU before the login was done");
    answer_ = login_->handle(pdu);
    if (answer_.status == LoginStatus::success && answer_.enters_full_feature)
        return complete_login();
    if (answer_.status == LoginStatus::moved_temporarily ||
        answer_.status == LoginStatus::moved_permanently) {
        environment_.counters.logins_redirected.add();
        log::info("{}: {} is sent on to {} of {}", login_->address(), login_->initiator_name(),
                  login_->target()->redirect->portal, login_->target()->iqn);
        closing_ = true;
    } else if (answer_.status != LoginStatus::success) {
        environment_.counters.logins_refused.add();
        closing_ = true;
    }
    respond(answer_, login_->tsih());
}

// The login itself is done: what it means for sessions that exist (RFC 7143 6.3.1, 6.3.5).
void Connection::complete_login() {
    if (login_->discovery()) {
        tsih_ = 1;
        return start_session();
    }
    if (login_->target()->reactor != environment_.reactor)
        return refuse(LoginStatus::service_unavailable,
                      "the link moved while the initiator logged in; it may try again");
    SessionTable& sessions = environment_.sessions;
    const std::string target = fold_name(login_->target()->iqn);
    const std::string& initiator = login_->initiator_name();
    Session* old = nullptr;
    if (login_->tsih() == 0) {
        old = sessions.find_isid(target, initiator, login_->isid());
        tsih_ = sessions.new_tsih(target, initiator);
    } else {
        tsih_ = login_->tsih();
        old = sessions.find_tsih(target, initiator, tsih_);
        if (old == nullptr || old->isid() != login_->isid())
            return refuse(LoginStatus::session_does_not_exist, "no session of that TSIH");
        if (old->cid() != login_->cid())
            return refuse(LoginStatus::too_many_connections, "a session has one connection here");
    }
    if (old == nullptr) return start_session();
    old->end(SessionEnd::reinstated);
    if (old->successor != nullptr) old->successor->predecessor_taken();
    old->successor = this;
    predecessor_ = old;
}

void Connection::predecessor_gone() {
    predecessor_ = nullptr;
    if (closing_) return;
    start_session();
    transport_.output_pending();
}

void Connection::predecessor_taken() {
    predecessor_ = nullptr;
    refuse(LoginStatus::initiator_error, "a later login took this one's place");
    transport_.output_pending();
}

void Connection::start_session() {
    const Bhs bhs(request_.data());
    const Session::Numbers numbers{.stat_sn = stat_sn_ + 1, .exp_cmd_sn = bhs.cmd_sn()};
    const Parameters parameters = login_->parameters();
    auto session =
        std::make_unique<Session>(environment_, output_, transport_, *login_, tsih_, numbers);
    const bool normal = !login_->discovery();
    // The link itself has told why.
    if (normal && !session->attach()) return refuse(LoginStatus::service_unavailable, "");
    session->set_portals(std::move(portals_));
    respond(answer_, tsih_);
    environment_.counters.logins.add();
    if (normal)
        log::info("{}: {} logged in to {}, TSIH {}", login_->address(), login_->initiator_name(),
                  session->target_name(), tsih_);
    session_ = std::move(session);
    login_.reset();
    // RFC 7143 6.3: what was negotiated counts from the first PDU of the full feature phase.
    stream_.set_max_data_segment(kMaxRecvDataSegmentLength);
    stream_.set_digests(parameters.header_digest, parameters.data_digest);
    output_.set_digests(parameters.header_digest, parameters.data_digest);
}

void Connection::refuse(LoginStatus status, std::string_view why) {
    environment_.counters.logins_refused.add();
    closing_ = true;
    respond(login_->refuse(status, why), 0);
}

void Connection::respond(const LoginAnswer& answer, std::uint16_t tsih) {
    const Bhs request(request_.data());
    const Buffer text =
        answer.text.empty() ? Buffer{} : environment_.buffers.take(answer.text.size());
    OutputPdu& pdu = output_.make();
    BhsWriter writer(pdu.header.data(), Opcode::login_response, answer.flags);
    writer.stat_sn(stat_sn_++)
        .exp_cmd_sn(request.cmd_sn())
        .max_cmd_sn(request.cmd_sn() + Session::kCommandWindow - 1)
        .itt(request.itt())
        .be16(14, tsih)
        .be16(36, static_cast<std::uint16_t>(answer.status));
    std::memcpy(pdu.header.data() + 8, request.bytes() + 8, 6);  // ISID
    if (text) {
        std::memcpy(text.data, answer.text.data(), answer.text.size());
        pdu.data = text.data;
        pdu.data_bytes = static_cast<std::uint32_t>(answer.text.size());
        pdu.owned = text;
    }
    output_.push(pdu);
    transport_.output_pending();
}

void Connection::transport_lost(SessionEnd why) {
    closing_ = true;
    if (session_) session_->transport_lost(why);
}

void Connection::login_timed_out() {
    if (session_ || closing_) return;
    environment_.counters.logins_refused.add();
    static_cast<void>(
        login_->refuse(LoginStatus::initiator_error, "the login was not finished in time"));
    closing_ = true;
}

void Connection::end(SessionEnd why) {
    if (session_)
        session_->end(why);
    else
        closing_ = true;
}

}  // namespace goldlink::iscsi
