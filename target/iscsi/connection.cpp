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
                                     std::move(peer_address), portals_.local,
                                     &environment.sessions)) {
    stream_.set_max_data_segment(kLoginMaxDataSegmentLength);
}

Connection::~Connection() {
    if (awaited_ != nullptr) awaited_->leave(*this);
}

PduSink::Placement Connection::place_data(Bhs bhs) {
    return full_feature_ ? full_feature_->place_data(bhs) : PduSink::Placement{};
}

bool Connection::receive(const Pdu& pdu) {
    if (full_feature_) return full_feature_->receive(pdu);
    if (!closing_) login_request(pdu);
    return !closing() && !input_paused();
}

void Connection::framing_error(FramingError error, Bhs bhs) {
    if (full_feature_) return full_feature_->framing_error(error, bhs);
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

// The login itself is done: what it means for sessions that exist (RFC 7143 6.3.1, 6.3.4, 6.3.5).
// It comes here again when the place that it waited for is free.
void Connection::complete_login() {
    if (login_->discovery()) {
        if (login_->tsih() != 0)
            return refuse(LoginStatus::session_does_not_exist,
                          "a discovery session has one connection");
        return start_session(1);
    }
    if (login_->target()->reactor != environment_.reactor)
        return refuse(LoginStatus::service_unavailable,
                      "the link moved while the initiator logged in; it may try again");
    if (login_->tsih() != 0) return join_session();
    SessionTable& sessions = environment_.sessions;
    const std::string target = fold_name(login_->target()->iqn);
    const std::string& initiator = login_->initiator_name();
    Session* old = sessions.find_isid(target, initiator, login_->isid());
    if (old == nullptr) {
        if (sessions.count(target, initiator) >= environment_.max_sessions_per_initiator) {
            environment_.counters.session_limit_refusals.add();
            return refuse(LoginStatus::out_of_resources,
                          "this initiator has its most sessions with the link already");
        }
        return start_session(sessions.new_tsih(target, initiator));
    }
    old->end(SessionEnd::reinstated);
    await(old->place);
}

// A further connection of a session, or one that takes the place of its connection of that CID.
void Connection::join_session() {
    Session* session = environment_.sessions.find_tsih(fold_name(login_->target()->iqn),
                                                       login_->initiator_name(), login_->tsih());
    if (session == nullptr || session->ending() || session->isid() != login_->isid() ||
        !login_->joins_session())
        return refuse(LoginStatus::session_does_not_exist, "no session of that TSIH");
    if (session->info().generation != login_->generation())
        return refuse(LoginStatus::cannot_include_in_session,
                      "the session was begun with the credential of another boot");
    if (SessionConnection* old = session->find(login_->cid())) {
        if (!old->closing()) session->reinstate(*old);
        return await(old->place);
    }
    if (!session->has_room())
        return refuse(LoginStatus::too_many_connections,
                      "the session has as many connections as were negotiated");
    enter(*session);
}

void Connection::await(Place& place) {
    place.await(*this);
    awaited_ = &place;
}

void Connection::place_vacated() {
    awaited_ = nullptr;
    if (closing_) return;
    complete_login();
    transport_.output_pending();
}

void Connection::place_taken() {
    awaited_ = nullptr;
    refuse(LoginStatus::initiator_error, "a later login took this one's place");
    transport_.output_pending();
}

void Connection::start_session(std::uint16_t tsih) {
    Session& session = environment_.sessions.add(
        std::make_unique<Session>(environment_, *login_, tsih, Bhs(request_.data()).cmd_sn()));
    if (!login_->discovery() && !session.attach()) {
        environment_.sessions.remove(session);
        return refuse(LoginStatus::service_unavailable, "");  // the link itself has told why
    }
    enter(session);
}

void Connection::enter(Session& session) {
    const Parameters parameters = login_->parameters();
    const std::string address = login_->address();
    const bool leading = session.connections().empty();
    full_feature_ = std::make_unique<SessionConnection>(
        session,
        SessionConnection::Wire{.output = output_, .transport = transport_, .stream = stream_},
        *login_, stat_sn_ + 1, std::move(portals_));
    respond(answer_, session.tsih());
    environment_.counters.logins.add();
    if (session.attached())
        log::info("{}: {} {} {}, TSIH {}, CID {}", address, session.initiator_name(),
                  leading ? "logged in to" : "added a connection to its session with",
                  session.target_name(), session.tsih(), full_feature_->cid());
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
    if (already_answered_ > 0 && answer.status == LoginStatus::success) {
        --already_answered_;
        ++stat_sn_;
        return;
    }
    const Bhs request(request_.data());
    const Buffer text =
        answer.text.empty() ? Buffer{} : environment_.buffers.take(answer.text.size());
    OutputPdu& pdu = output_.make();
    BhsWriter writer(pdu.header.data(), Opcode::login_response, answer.flags);
    // 11.12.8: the leading login sets ExpCmdSN; another one is in the session's command stream.
    const CommandOrder leading(request.cmd_sn());
    const CommandOrder& order = full_feature_ ? full_feature_->session().order() : leading;
    writer.stat_sn(stat_sn_++)
        .exp_cmd_sn(order.exp_cmd_sn())
        .max_cmd_sn(order.max_cmd_sn())
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
    if (full_feature_) full_feature_->transport_lost(why);
}

void Connection::login_timed_out() {
    if (full_feature_ || closing_) return;
    environment_.counters.logins_refused.add();
    environment_.counters.login_timeouts.add();
    static_cast<void>(
        login_->refuse(LoginStatus::initiator_error, "the login was not finished in time"));
    closing_ = true;
}

void Connection::end(SessionEnd why) {
    if (full_feature_)
        full_feature_->end(why);
    else
        closing_ = true;
}

}  // namespace goldlink::iscsi
