#include "target/iscsi/login.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/iscsi_name.hpp"
#include "target/iscsi/session.hpp"

namespace goldlink::iscsi {

namespace {

constexpr std::uint8_t kTransit = 0x80;

std::uint8_t current_stage(std::uint8_t flags) { return (flags >> 2) & 3; }
std::uint8_t next_stage(std::uint8_t flags) { return flags & 3; }

std::uint8_t stage_flags(Stage current, std::uint8_t next) {
    return static_cast<std::uint8_t>((static_cast<unsigned>(current) << 2) | next);
}

bool is_security_key(std::string_view key) {
    return key == "AuthMethod" || key.substr(0, 5) == "CHAP_";
}

const KeyValue* find(std::span<const KeyValue> keys, std::string_view key) {
    const auto found =
        std::find_if(keys.begin(), keys.end(), [&](const KeyValue& kv) { return kv.key == key; });
    return found == keys.end() ? nullptr : &*found;
}

// RFC 7143 13.8: in a redirection TargetAddress has no portal group tag.
LoginAnswer moved_to(const Redirect& redirect) {
    LoginAnswer answer{.status = redirect.permanent ? LoginStatus::moved_permanently
                                                    : LoginStatus::moved_temporarily,
                       .flags = 0,
                       .enters_full_feature = false,
                       .text = {}};
    append_pair(answer.text, "TargetAddress", redirect.portal);
    return answer;
}

}  // namespace

std::optional<std::string> Login::peek_target_name(Bytes data) {
    const auto keys = parse_text(as_text(data));
    if (!keys) return std::nullopt;
    const KeyValue* name = find(*keys, "TargetName");
    if (name == nullptr) return std::nullopt;
    return fold_name(name->value);
}

LoginAnswer Login::refuse(LoginStatus status, std::string_view why) {
    if (!why.empty()) directory_.login_refused(target_name_, initiator_name_, address_, why);
    return {.status = status, .flags = 0, .enters_full_feature = false, .text = {}};
}

LoginAnswer Login::handle(const Pdu& request) {
    const Bhs bhs = request.bhs;
    if (auto refusal = check_header(bhs)) return std::move(*refusal);
    if (gathered_.size() + request.data.size() > kMaxTextBytes)
        return refuse(LoginStatus::initiator_error, "login text is too long");
    if ((bhs.flags() & kContinue) != 0) {
        // RFC 7143 6.2: the text goes on in the next request; the answer to this one is empty.
        gathered_.append(as_text(request.data));
        return {.status = LoginStatus::success,
                .flags = stage_flags(stage_, 0),
                .enters_full_feature = false,
                .text = {}};
    }
    if (gathered_.empty()) return handle_text(bhs, as_text(request.data));
    gathered_.append(as_text(request.data));
    const std::string text = std::move(gathered_);
    gathered_.clear();
    return handle_text(bhs, text);
}

std::optional<LoginAnswer> Login::check_header(Bhs bhs) {
    const std::uint8_t flags = bhs.flags();
    const std::uint8_t current = current_stage(flags);
    const std::uint8_t next = next_stage(flags);
    const bool transit = (flags & kTransit) != 0;

    if (++requests_ > kMaxRequests)
        return refuse(LoginStatus::initiator_error, "too many login requests");
    if (bhs.bytes()[3] != 0)  // Version-min: we speak version 0 alone
        return refuse(LoginStatus::unsupported_version, "unsupported iSCSI version");
    if (!begun_) {
        if (current > 1)
            return refuse(LoginStatus::initiator_error, "login begins in no known stage");
        begun_ = true;
        stage_ = static_cast<Stage>(current);
        itt_ = bhs.itt();
        isid_ = bhs.isid();
        tsih_ = bhs.tsih();
        cid_ = bhs.cid();
    }
    if (current != static_cast<std::uint8_t>(stage_))
        return refuse(LoginStatus::initiator_error, "login request of another stage");
    if (bhs.itt() != itt_ || bhs.isid() != isid_ || bhs.tsih() != tsih_ || bhs.cid() != cid_)
        return refuse(LoginStatus::initiator_error,
                      "login request with changed ITT, ISID, TSIH or CID");
    if (transit && (flags & kContinue) != 0)
        return refuse(LoginStatus::initiator_error, "login request with both T and C set");
    if (transit && (next <= current || next == 2))
        return refuse(LoginStatus::initiator_error, "login request asks for an impossible stage");
    return std::nullopt;
}

LoginAnswer Login::handle_text(Bhs bhs, std::string_view text) {
    const auto keys = parse_text(text);
    if (!keys) return refuse(LoginStatus::initiator_error, "malformed login text");
    if (!identified_)
        if (auto refusal = identify(*keys)) return std::move(*refusal);
    std::string response;
    declare_target(response);
    if (auto refusal = negotiate(*keys, response)) return std::move(*refusal);
    return transit(bhs, std::move(response));
}

// With the first response of a normal session: the portal group tag must be in it (RFC 7143 13.9),
// and the alias should (13.6).
void Login::declare_target(std::string& response) {
    if (discovery_ || std::exchange(target_declared_, true)) return;
    append_pair(response, "TargetPortalGroupTag", std::to_string(kPortalGroupTag));
    if (!target_->alias.empty()) append_pair(response, "TargetAlias", target_->alias);
}

// SessionType belongs to the first request, like the names (6.3). One that comes later and says
// what is the case does no harm; what is decided is not changed by another.
std::optional<LoginAnswer> Login::check_late(const KeyValue& pair) {
    if (pair.key == "SessionType" && pair.value != (discovery_ ? "Discovery" : "Normal"))
        return refuse(LoginStatus::initiator_error, "SessionType came after the first request");
    if (pair.key == "InitiatorName" && fold_name(pair.value) != initiator_name_)
        return refuse(LoginStatus::initiator_error, "InitiatorName changed during the login");
    if (pair.key == "TargetName" && !discovery_ && fold_name(pair.value) != target_name_)
        return refuse(LoginStatus::initiator_error, "TargetName changed during the login");
    return std::nullopt;
}

// Who logs in to what: all of it must be in the first request (6.3).
std::optional<LoginAnswer> Login::identify(std::span<const KeyValue> keys) {
    if (const KeyValue* name = find(keys, "TargetName")) target_name_ = fold_name(name->value);
    const KeyValue* initiator = find(keys, "InitiatorName");
    if (initiator == nullptr)
        return refuse(LoginStatus::missing_parameter, "login without InitiatorName");
    initiator_name_ = fold_name(initiator->value);
    // 4.2.7: also because everything that tells of a session names its initiator.
    if (const auto fault = iscsi_name_fault(initiator->value); !fault.empty())
        return refuse(LoginStatus::initiator_error,
                      fmt::format("its InitiatorName is no iSCSI name: {}; give the initiator one "
                                  "like iqn.2026-11.io.example:pc-001",
                                  fault));

    if (const KeyValue* type = find(keys, "SessionType")) {
        discovery_ = type->value == "Discovery";
        if (!discovery_ && type->value != "Normal")
            return refuse(LoginStatus::session_type_not_supported, "unknown SessionType");
    }
    identified_ = true;
    if (discovery_) {
        negotiation_.set_discovery();
        return std::nullopt;
    }
    if (target_name_.empty())
        return refuse(LoginStatus::missing_parameter, "normal session without TargetName");
    target_ = directory_.find_target(target_name_);
    if (!target_) return refuse(LoginStatus::not_found, "no such target");
    const auto& allowed = target_->allowed_initiators;
    const bool may = allowed.empty() ||
                     std::any_of(allowed.begin(), allowed.end(),
                                 [&](auto& name) { return fold_name(name) == initiator_name_; });
    if (!may)
        return refuse(LoginStatus::authorization_failure,
                      "this initiator name is not allowed for the target");
    // Told before any secret is asked for, since only the new place may know it.
    if (target_->redirect && target_->redirect->portal != portal_)
        return moved_to(*target_->redirect);
    credentials_ = target_->credentials;
    if (tsih_ != 0 && sessions_ != nullptr) {
        // A further connection; if the session is not there, that is said to who has proved to be
        // its initiator.
        const Session* session = sessions_->find_tsih(target_name_, initiator_name_, tsih_);
        joins_session_ = session != nullptr;
        if (joins_session_) negotiation_.join(session->parameters());
    }
    return std::nullopt;
}

std::optional<LoginAnswer> Login::negotiate(std::span<const KeyValue> keys, std::string& response) {
    std::vector<KeyValue> security;
    for (const KeyValue& pair : keys) {
        if (stage_ == Stage::security && is_security_key(pair.key)) {
            if (!seen_security_keys_.emplace(pair.key).second)
                return refuse(LoginStatus::initiator_error, "a security key came twice");
            security.push_back(pair);
            continue;
        }
        if (auto refusal = check_late(pair)) return refusal;
        if (negotiation_.offer(pair, stage_, response) == Negotiation::Outcome::repeated)
            return refuse(LoginStatus::initiator_error, "a key was negotiated twice");
    }
    if (stage_ == Stage::security) return authenticate(security, response);
    // An initiator may skip the security stage only where nothing is asked of it (6.3.2).
    if (needs_chap() && !authenticated_)
        return refuse(LoginStatus::authentication_failure,
                      "the link asks for CHAP, the initiator skips it");
    negotiation_.declare_ours(response);
    return std::nullopt;
}

std::optional<LoginAnswer> Login::authenticate(std::span<const KeyValue> security_keys,
                                               std::string& response) {
    if (const KeyValue* method = find(security_keys, "AuthMethod")) {
        if (security_keys.size() != 1)
            return refuse(LoginStatus::initiator_error, "CHAP keys before the method is agreed");
        return choose_method(method->value, response);
    }
    if (security_keys.empty()) return std::nullopt;
    if (!chap_) return refuse(LoginStatus::initiator_error, "CHAP keys without AuthMethod=CHAP");
    switch (chap_->handle(security_keys, response)) {
        case ChapTarget::Step::more:
            break;
        case ChapTarget::Step::passed:
            authenticated_ = true;
            generation_ = chap_->credential()->generation;
            if (discovery_) discovery_credential_ = *chap_->credential();
            break;
        case ChapTarget::Step::failed:
            return refuse(LoginStatus::authentication_failure, chap_->why());
    }
    return std::nullopt;
}

std::optional<LoginAnswer> Login::choose_method(std::string_view offered, std::string& response) {
    // Discovery asks for no CHAP, but an initiator that would rather prove itself may: with any
    // credential of the targets its name may see.
    if (discovery_ && offered.substr(0, offered.find(',')) == "CHAP")
        for (const auto& entry : directory_.list_targets(initiator_name_))
            credentials_.insert(credentials_.end(), entry->credentials.begin(),
                                entry->credentials.end());
    const std::string_view wanted = needs_chap() ? "CHAP" : "None";
    bool has = false;
    for (std::string_view rest = offered; !rest.empty();) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        has = has || rest.substr(0, comma) == wanted;
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    if (!has)
        return refuse(LoginStatus::authentication_failure,
                      needs_chap()
                          ? "the link asks for CHAP, the initiator does not offer it"
                          : "the initiator insists on CHAP, but there is no credential for it");
    append_pair(response, "AuthMethod", wanted);
    method_chosen_ = true;
    if (needs_chap()) {
        ChapTarget::Random random;
        random_(random);
        chap_ = std::make_unique<ChapTarget>(credentials_, random);
    } else {
        authenticated_ = true;
    }
    return std::nullopt;
}

LoginAnswer Login::transit(Bhs bhs, std::string response) {
    LoginAnswer answer{.status = LoginStatus::success,
                       .flags = stage_flags(stage_, 0),
                       .enters_full_feature = false,
                       .text = std::move(response)};
    if ((bhs.flags() & kTransit) == 0) return answer;
    if (stage_ == Stage::security && needs_chap() && !authenticated_) {
        // Asked too early: not yet while CHAP is under way, never when it was not offered.
        if (!method_chosen_)
            return refuse(LoginStatus::authentication_failure,
                          "the link asks for CHAP, the initiator does not offer it");
        return answer;
    }
    const std::uint8_t next = next_stage(bhs.flags());
    answer.flags = static_cast<std::uint8_t>(kTransit | stage_flags(stage_, next));
    stage_ = static_cast<Stage>(next);
    answer.enters_full_feature = stage_ == Stage::full_feature;
    return answer;
}

}  // namespace goldlink::iscsi
