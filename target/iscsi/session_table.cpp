#include "target/iscsi/session_table.hpp"

#include <algorithm>
#include <utility>

#include "common/check.hpp"
#include "target/iscsi/session.hpp"

namespace goldlink::iscsi {

namespace {

std::string key_of(std::string_view target, std::string_view initiator) {
    std::string key(target);
    key.push_back('\0');
    key.append(initiator);
    return key;
}

}  // namespace

const SessionTable::Peers* SessionTable::peers(std::string_view target,
                                               std::string_view initiator) const {
    const auto found = by_names_.find(key_of(target, initiator));
    return found == by_names_.end() ? nullptr : &found->second;
}

SessionTable::SessionTable() = default;
SessionTable::~SessionTable() = default;

Session& SessionTable::add(std::unique_ptr<Session> session) {
    Peers& peers = by_names_[key_of(session->target_name(), session->initiator_name())];
    ++size_;
    return *peers.emplace_back(std::move(session));
}

void SessionTable::remove(Session& session) {
    const auto found = by_names_.find(key_of(session.target_name(), session.initiator_name()));
    CHECK(found != by_names_.end(), "a session is removed that was not added");
    Peers& peers = found->second;
    const auto at =
        std::ranges::find_if(peers, [&](const auto& each) { return each.get() == &session; });
    CHECK(at != peers.end(), "a session is removed that was not added");
    const std::unique_ptr<Session> gone = std::move(*at);
    peers.erase(at);
    if (peers.empty()) by_names_.erase(found);
    --size_;
    // Its end may add a session: the login that waited for its place.
}

Session* SessionTable::find_isid(std::string_view target, std::string_view initiator,
                                 std::uint64_t isid) const {
    if (const Peers* all = peers(target, initiator))
        for (const auto& session : *all)
            if (session->isid() == isid) return session.get();
    return nullptr;
}

Session* SessionTable::find_tsih(std::string_view target, std::string_view initiator,
                                 std::uint16_t tsih) const {
    if (const Peers* all = peers(target, initiator))
        for (const auto& session : *all)
            if (session->tsih() == tsih) return session.get();
    return nullptr;
}

bool SessionTable::has_live_successor(const Session& session) const {
    const Peers* all = peers(session.target_name(), session.initiator_name());
    if (all == nullptr) return false;
    // add() appends, so what stands after it began later.
    const auto self =
        std::ranges::find_if(*all, [&](const auto& each) { return each.get() == &session; });
    return std::any_of(self == all->end() ? self : self + 1, all->end(),
                       [](const auto& other) { return other->answers_pings(); });
}

std::size_t SessionTable::count(std::string_view target, std::string_view initiator) const {
    const Peers* all = peers(target, initiator);
    return all == nullptr ? 0 : all->size();
}

std::uint16_t SessionTable::new_tsih(std::string_view target, std::string_view initiator) {
    do {
        ++last_tsih_;
    } while (last_tsih_ == 0 || find_tsih(target, initiator, last_tsih_) != nullptr);
    return last_tsih_;
}

void SessionTable::tasks_ended(std::string_view target) {
    if (holds_ > 0)
        ended_while_held_ = true;
    else
        for_each_of_target(target, [](Session& session) { session.settle(); });
}

SessionTable::Hold::Hold(Session& session)
    : session_(session), table_(session.environment().sessions) {
    ++table_.holds_;
}

SessionTable::Hold::~Hold() {
    if (--table_.holds_ == 0 && std::exchange(table_.ended_while_held_, false)) [[unlikely]]
        table_.tasks_ended(session_.target_name());
}

void SessionTable::for_each_of_target(std::string_view target,
                                      const std::function<void(Session&)>& visit) const {
    for (const auto& [key, all] : by_names_)
        if (std::string_view(key).substr(0, target.size() + 1) == key_of(target, ""))
            for (const auto& session : all) visit(*session);
}

}  // namespace goldlink::iscsi
