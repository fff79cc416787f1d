// Negotiation: every key of RFC 7143 section 13 (and iSCSIProtocolLevel of RFC 7144) as one table:
// type, default, range, our value, result function and where it is allowed. Pure.
//
// The initiator always offers and we answer: offer() appends our answer, or nothing for a
// declaration. Security keys (AuthMethod, CHAP_*) are the login's; it asks here for the rest.
#pragma once

#include <bitset>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "target/iscsi/text.hpp"

namespace goldlink::iscsi {

// What a session runs with. Initial values are the RFC's defaults.
struct Parameters {
    bool header_digest = false;
    bool data_digest = false;
    bool initial_r2t = true;
    bool immediate_data = true;
    std::uint32_t max_connections = 1;
    std::uint32_t initiator_max_recv_data_segment_length = 8192;  // for what we send
    std::uint32_t max_burst_length = 262144;
    std::uint32_t first_burst_length = 65536;
    std::uint32_t default_time2wait = 2;
    std::uint32_t default_time2retain = 20;
    std::uint32_t max_outstanding_r2t = 1;
    std::uint32_t error_recovery_level = 0;
    std::uint32_t protocol_level = 1;

    bool operator==(const Parameters&) const = default;

    // FirstBurstLength must not exceed MaxBurstLength (13.14), whatever was said of either.
    std::uint32_t first_burst_limit() const {
        return first_burst_length < max_burst_length ? first_burst_length : max_burst_length;
    }
};

// What we declare and offer; the other values of the table are in negotiation.cpp.
inline constexpr std::uint32_t kMaxRecvDataSegmentLength = 262144;
inline constexpr std::uint32_t kMaxConnections = 4;                // of a session
inline constexpr std::uint32_t kLoginMaxDataSegmentLength = 8192;  // until it is negotiated

enum class Stage : std::uint8_t { security = 0, operational = 1, full_feature = 3 };

class Negotiation {
  public:
    enum class Outcome : std::uint8_t {
        done,
        repeated,  // RFC 7143 6.2: the key was offered before in this negotiation, or more than
                   // kMaxKeys unknown ones were; it must fail
    };

    // In a discovery session several keys are Irrelevant.
    void set_discovery() { discovery_ = true; }

    // A further connection of a session: the session-wide values stand. A key that is for the
    // leading login alone (13: "LO") is answered with the value in force where that is what the
    // offer would give, so that an initiator may repeat its first offer, and with Reject else.
    void join(const Parameters& of_session);

    Outcome offer(KeyValue pair, Stage stage, std::string& response);

    // Our own declaration, once, in the first operational answer.
    void declare_ours(std::string& response);

    // Full feature phase: a new text negotiation may offer keys again.
    void begin_sequence();

    const Parameters& parameters() const { return parameters_; }

    static constexpr std::size_t kMaxRules = 48;

  private:
    Parameters parameters_;
    std::bitset<kMaxRules> seen_;
    std::set<std::string, std::less<>> seen_unknown_;
    bool discovery_ = false;
    bool joined_ = false;
    bool declared_ = false;
};

}  // namespace goldlink::iscsi
