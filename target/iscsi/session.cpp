#include "target/iscsi/session.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.hpp"
#include "target/iscsi/session_connection.hpp"

namespace goldlink::iscsi {

namespace {

// RFC 7143 4.4.1: the SCSI name of an initiator port.
std::string initiator_port(const SessionInfo& info) {
    return fmt::format("{},i,0x{:012x}", info.initiator_name, info.isid);
}

}  // namespace

Session::Session(Environment& environment, const Login& login, std::uint16_t tsih,
                 std::uint32_t cmd_sn)
    : environment_(environment),
      target_(login.target()),
      target_name_(target_ ? fold_name(target_->iqn) : std::string()),
      info_{.initiator_name = login.initiator_name(),
            .isid = login.isid(),
            .tsih = tsih,
            .address = login.address(),
            .generation = login.generation()},
      discovery_credential_(login.discovery_credential()),
      parameters_(login.parameters()),
      order_(cmd_sn) {}

Session::~Session() {
    CHECK(commands_.size() == 0, "a session is destroyed with commands in flight");
    CHECK(connections_.empty(), "a session is destroyed with connections");
    if (!attached_) return;
    environment_.counters.sessions.subtract();
    device_->close_nexus(nexus_);
    target_->endpoint->session_ended(*this, end_why_);
}

bool Session::attach() {
    device_ = target_->endpoint->session_started(info_, *this);
    if (device_ == nullptr) return false;
    nexus_ = device_->open_nexus(initiator_port(info_), kPortalGroupTag);
    attached_ = true;
    environment_.counters.sessions.add();
    return true;
}

// --- Connections ---

void Session::add(SessionConnection& connection) {
    CHECK(has_room(), "a session gets more connections than were negotiated");
    connections_.push_back(&connection);
}

void Session::remove(SessionConnection& connection) {
    CHECK(std::erase(connections_, &connection) == 1, "a connection leaves a session it is not of");
    for (Logout& logout : logouts_)
        if (logout.closing == &connection) logout.closing = nullptr;
    std::erase_if(logouts_, [&](const Logout& logout) { return logout.from == &connection; });
    progress();
    connection.place.vacate();  // a login may join now
    if (connections_.empty()) environment_.sessions.remove(*this);
}

SessionConnection* Session::find(std::uint16_t cid) const {
    const auto found = std::ranges::find_if(
        connections_, [&](const SessionConnection* each) { return each->cid() == cid; });
    return found == connections_.end() ? nullptr : *found;
}

std::size_t Session::live_connections() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        connections_, [](const SessionConnection* each) { return !each->closing(); }));
}

bool Session::answers_pings() const {
    return std::ranges::any_of(connections_,
                               [](const SessionConnection* each) { return each->answers_pings(); });
}

void Session::end(SessionEnd why) {
    if (!ending_ && attached_ && why == SessionEnd::removed)
        for (SessionConnection* each : connections_)
            if (!each->closing()) each->announce_session_end();
    close_all(why);
}

void Session::request_logout(std::uint16_t seconds) {
    const std::vector<SessionConnection*> all = connections_;  // an ending one leaves the list
    for (SessionConnection* each : all) each->request_logout(seconds);
}

void Session::connection_failed(SessionConnection& connection, SessionEnd why) {
    if (!ending_)
        for (SessionConnection* each : connections_)
            if (each != &connection && !each->closing()) each->announce_session_end();
    close_all(why);
}

void Session::close_all(SessionEnd why) {
    if (!ending_) {
        ending_ = true;
        end_why_ = why;
    }
    order_.clear();
    task_management_.clear();
    logouts_.clear();
    if (attached_) device_->nexus_lost(*nexus_);
    for (SessionConnection* each : connections_)
        if (!each->closing()) each->close();
    task_ended();
}

void Session::reinstate(SessionConnection& connection) {
    connection.drop_tasks(true);
    connection.close();
    progress();
}

// --- Logout ---

void Session::log_out(SessionConnection& from, std::uint32_t itt, SessionConnection* closing) {
    logouts_.push_back(
        {.from = &from, .itt = itt, .closing = closing, .whole = closing == nullptr});
    if (closing == nullptr) {
        ending_ = true;
        end_why_ = SessionEnd::logout;
        order_.clear();
        task_management_.clear();
    }
    for (SessionConnection* each : connections_) {
        if (each->closing() || (closing != nullptr && each != closing)) continue;
        each->drop_tasks(closing != nullptr);
        if (each == &from)
            each->stop_receiving();
        else
            each->close();
    }
    progress();
}

void Session::settle_logouts() {
    for (std::size_t i = 0; i < logouts_.size();) {
        const Logout logout = logouts_[i];
        const bool over = logout.whole ? commands_.size() == 0
                                       : logout.closing == nullptr || logout.closing->tasks() == 0;
        if (!over) {
            ++i;
            continue;
        }
        logouts_.erase(logouts_.begin() + static_cast<std::ptrdiff_t>(i));
        logout.from->send_logout_response(logout.itt, LogoutResponse::closed);
        if (!logout.whole && logout.closing != logout.from) continue;
        const bool last = logout.whole || live_connections() == 1;
        if (last) return close_all(SessionEnd::logout);
        logout.from->close();
    }
}

// --- Commands ---

bool Session::replay_held() {
    bool any = false;
    while (auto held = order_.next()) {
        held->from->handle(held->pdu());
        any = true;
    }
    return any;
}

void Session::stores_data() {
    if (wrote_) return;
    wrote_ = true;
    target_->endpoint->first_write(*this);
}

void Session::drop_aborted() {
    commands_.for_each([](Command& command) {
        if (command.task.aborted && command.state == Command::State::collecting)
            command.connection->drop(command);
    });
}

void Session::progress() {
    do {
        settle();
    } while (!order_.empty() && replay_held());
}

// Task management of any session of the target may have waited for it.
void Session::task_ended() {
    if (attached_) environment_.sessions.tasks_ended(target_name_);
}

void Session::settle() {
    if (!task_management_.idle()) task_management_.advance();
    if (!logouts_.empty()) settle_logouts();
}

}  // namespace goldlink::iscsi
