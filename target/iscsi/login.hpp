// Login: the login phase of one connection (RFC 7143 section 6.3) from the first request to the
// transition to full feature phase or the refusal. Pure: requests in, answers out. Of the sessions
// it asks only what a further connection inherits; what a login does to them is the connection's.
//
// Bounded: kMaxRequests requests, kMaxTextBytes of text gathered over C=1 requests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "target/iscsi/chap.hpp"
#include "target/iscsi/directory.hpp"
#include "target/iscsi/negotiation.hpp"
#include "target/iscsi/pdu.hpp"
#include "target/iscsi/session_table.hpp"

namespace goldlink::iscsi {

enum class LoginStatus : std::uint16_t {  // RFC 7143 11.13.5: class, detail
    success = 0x0000,
    moved_temporarily = 0x0101,
    moved_permanently = 0x0102,
    initiator_error = 0x0200,
    authentication_failure = 0x0201,
    authorization_failure = 0x0202,
    not_found = 0x0203,
    unsupported_version = 0x0205,
    too_many_connections = 0x0206,
    missing_parameter = 0x0207,
    cannot_include_in_session = 0x0208,
    session_type_not_supported = 0x0209,
    session_does_not_exist = 0x020a,
    invalid_during_login = 0x020b,
    target_error = 0x0300,
    service_unavailable = 0x0301,
    out_of_resources = 0x0302,
};

struct LoginAnswer {
    LoginStatus status = LoginStatus::success;
    std::uint8_t flags = 0;  // T, CSG, NSG of the response
    bool enters_full_feature = false;
    std::string text;
};

class Login {
  public:
    using RandomBytes = void (*)(MutableBytes);

    static constexpr unsigned kMaxRequests = 32;
    static constexpr std::size_t kMaxTextBytes = 64 * 1024;

    // `address` is the initiator's, `portal` ours on this connection ("10.0.0.1:3260"); `sessions`
    // are those of the target's reactor, null: there are none.
    Login(Directory& directory, RandomBytes random, std::string address, std::string portal,
          const SessionTable* sessions = nullptr)
        : directory_(directory),
          random_(random),
          address_(std::move(address)),
          portal_(std::move(portal)),
          sessions_(sessions) {}

    // One login request. After a status other than success the connection must close.
    LoginAnswer handle(const Pdu& request);

    // Refuses from outside (session not found, link going away): tells the directory.
    LoginAnswer refuse(LoginStatus status, std::string_view why);

    // The target that the first request names, wherever it is; for the hand-off before login.
    static std::optional<std::string> peek_target_name(Bytes data);

    bool discovery() const { return discovery_; }
    const std::string& initiator_name() const { return initiator_name_; }
    const std::shared_ptr<const TargetEntry>& target() const { return target_; }
    const Parameters& parameters() const { return negotiation_.parameters(); }
    Negotiation take_negotiation() { return std::move(negotiation_); }
    std::uint64_t isid() const { return isid_; }
    std::uint16_t tsih() const { return tsih_; }
    std::uint16_t cid() const { return cid_; }
    // The session of that TSIH was there, and its session-wide values count for this connection.
    bool joins_session() const { return joins_session_; }
    // Of the credential that authenticated; 0 without CHAP.
    std::uint64_t generation() const { return generation_; }
    // Who a discovery session proved to be; none without CHAP. It sees the targets of that
    // credential alone.
    const std::optional<Credential>& discovery_credential() const { return discovery_credential_; }
    const std::string& address() const { return address_; }

  private:
    std::optional<LoginAnswer> check_header(Bhs bhs);
    LoginAnswer handle_text(Bhs bhs, std::string_view text);
    std::optional<LoginAnswer> identify(std::span<const KeyValue> keys);
    std::optional<LoginAnswer> check_late(const KeyValue& pair);
    void declare_target(std::string& response);
    std::optional<LoginAnswer> negotiate(std::span<const KeyValue> keys, std::string& response);
    std::optional<LoginAnswer> authenticate(std::span<const KeyValue> security_keys,
                                            std::string& response);
    std::optional<LoginAnswer> choose_method(std::string_view offered, std::string& response);
    bool needs_chap() const { return !credentials_.empty(); }
    LoginAnswer transit(Bhs bhs, std::string response);

    Directory& directory_;
    RandomBytes random_;
    std::string address_;
    std::string portal_;
    const SessionTable* sessions_;

    bool begun_ = false;
    Stage stage_ = Stage::operational;
    unsigned requests_ = 0;
    std::uint32_t itt_ = 0;
    std::uint64_t isid_ = 0;
    std::uint16_t tsih_ = 0;
    std::uint16_t cid_ = 0;
    std::string gathered_;  // text of requests with C=1

    bool identified_ = false;
    bool discovery_ = false;
    bool target_declared_ = false;
    bool joins_session_ = false;
    std::string initiator_name_;
    std::string target_name_;
    std::shared_ptr<const TargetEntry> target_;

    std::vector<Credential> credentials_;  // what CHAP is checked against; empty: it is not asked
    std::optional<Credential> discovery_credential_;
    bool authenticated_ = false;
    bool method_chosen_ = false;
    std::uint64_t generation_ = 0;
    std::unique_ptr<ChapTarget> chap_;
    std::set<std::string, std::less<>> seen_security_keys_;
    Negotiation negotiation_;
};

}  // namespace goldlink::iscsi
