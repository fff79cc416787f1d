#include "target/iscsi/negotiation.hpp"

#include <algorithm>
#include <array>

namespace goldlink::iscsi {

namespace {

enum class Type : std::uint8_t {
    boolean_or,     // Yes if either says Yes
    boolean_and,    // Yes if both say Yes
    minimum,        // the smaller number
    maximum,        // the larger number
    declared,       // a number the initiator declares; no answer
    digest,         // the first of the initiator's list that we can: CRC32C, None
    reporting,      // TaskReporting: RFC3720 is what we do
    declared_text,  // a text the initiator declares; read by the login, no answer
    asked,          // SendTargets: answered by the layer above
    target_only,    // only a target may send it
    obsolete_flag,  // 13.25: answer No
    obsolete,       // 13.25: answer Reject
};

constexpr std::uint8_t kSecurity = 1, kOperational = 2, kFullFeature = 4;
constexpr std::uint8_t kLeadingOnly = 8;
constexpr std::uint8_t kLeading = kOperational | kLeadingOnly;
constexpr std::uint8_t kLogin = kSecurity | kOperational;
constexpr std::uint8_t kAll = kLogin | kFullFeature;

struct Rule {
    std::string_view key;
    Type type;
    std::uint8_t stages;
    bool irrelevant_in_discovery = false;
    std::uint32_t least = 0;
    std::uint32_t most = 0;
    std::uint32_t ours = 0;
    std::uint32_t Parameters::*number = nullptr;
    bool Parameters::*flag = nullptr;
};

constexpr std::uint32_t k24Bits = (1U << 24) - 1;
constexpr bool kNormalOnly = true;

// In the order of RFC 7143 section 13. DefaultTime2Retain 0: after a lost connection nothing of
// the session is kept, which is what ErrorRecoveryLevel 0 means for us.
using P = Parameters;
constexpr auto kRules = std::to_array<Rule>({
    {"HeaderDigest", Type::digest, kOperational, false, 0, 0, 0, nullptr, &P::header_digest},
    {"DataDigest", Type::digest, kOperational, false, 0, 0, 0, nullptr, &P::data_digest},
    {"MaxConnections", Type::minimum, kLeading, kNormalOnly, 1, 65535, kMaxConnections,
     &P::max_connections},
    {"SendTargets", Type::asked, kFullFeature},
    {"TargetName", Type::declared_text, kLogin},
    {"InitiatorName", Type::declared_text, kLogin},
    {"TargetAlias", Type::target_only, kAll},
    {"InitiatorAlias", Type::declared_text, kAll},
    {"TargetAddress", Type::target_only, kAll},
    {"TargetPortalGroupTag", Type::target_only, kAll},
    {"InitialR2T", Type::boolean_or, kLeading, kNormalOnly, 0, 0, 0, nullptr, &P::initial_r2t},
    {"ImmediateData", Type::boolean_and, kLeading, kNormalOnly, 0, 0, 1, nullptr,
     &P::immediate_data},
    {"MaxRecvDataSegmentLength", Type::declared, kAll, false, 512, k24Bits, 0,
     &P::initiator_max_recv_data_segment_length},
    {"MaxBurstLength", Type::minimum, kLeading, kNormalOnly, 512, k24Bits, 1U << 20,
     &P::max_burst_length},
    {"FirstBurstLength", Type::minimum, kLeading, kNormalOnly, 512, k24Bits, 256U << 10,
     &P::first_burst_length},
    {"DefaultTime2Wait", Type::maximum, kLeading, false, 0, 3600, 0, &P::default_time2wait},
    {"DefaultTime2Retain", Type::minimum, kLeading, false, 0, 3600, 0, &P::default_time2retain},
    {"MaxOutstandingR2T", Type::minimum, kLeading, kNormalOnly, 1, 65535, 8,
     &P::max_outstanding_r2t},
    {"DataPDUInOrder", Type::boolean_or, kLeading, kNormalOnly, 0, 0, 1},
    {"DataSequenceInOrder", Type::boolean_or, kLeading, kNormalOnly, 0, 0, 1},
    {"ErrorRecoveryLevel", Type::minimum, kLeading, false, 0, 2, 0, &P::error_recovery_level},
    {"SessionType", Type::declared_text, kLogin},
    {"TaskReporting", Type::reporting, kLeading, kNormalOnly},
    {"X#NodeArchitecture", Type::declared_text, kAll},
    {"iSCSIProtocolLevel", Type::minimum, kLeading, kNormalOnly, 0, 31, 1, &P::protocol_level},
    {"IFMarker", Type::obsolete_flag, kOperational},
    {"OFMarker", Type::obsolete_flag, kOperational},
    {"IFMarkInt", Type::obsolete, kOperational},
    {"OFMarkInt", Type::obsolete, kOperational},
    {"AuthMethod", Type::target_only, kAll},  // in the security stage the login has taken it
});
static_assert(kRules.size() <= Negotiation::kMaxRules);

std::uint8_t stage_bit(Stage stage) {
    switch (stage) {
        case Stage::security:
            return kSecurity;
        case Stage::operational:
            return kOperational;
        case Stage::full_feature:
            return kFullFeature;
    }
    return 0;
}

bool list_contains(std::string_view list, std::string_view wanted) {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        if (list.substr(0, comma) == wanted) return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

// The answer's value; empty: none is due.
std::string_view negotiate_flag(const Rule& rule, std::string_view offered,
                                Parameters& parameters) {
    const bool yes = offered == "Yes";
    if (!yes && offered != "No") return "Reject";
    const bool ours = rule.ours != 0;
    const bool result = rule.type == Type::boolean_or ? (yes || ours) : (yes && ours);
    if (rule.flag != nullptr) parameters.*rule.flag = result;
    return result ? "Yes" : "No";
}

std::string negotiate_number(const Rule& rule, std::string_view offered, Parameters& parameters) {
    const auto number = parse_number(offered);
    if (!number || *number < rule.least || *number > rule.most) return "Reject";
    const auto theirs = static_cast<std::uint32_t>(*number);
    if (rule.type == Type::declared) {
        parameters.*rule.number = theirs;
        return {};
    }
    const std::uint32_t result =
        rule.type == Type::minimum ? std::min(theirs, rule.ours) : std::max(theirs, rule.ours);
    parameters.*rule.number = result;
    return std::to_string(result);
}

std::string_view negotiate_digest(const Rule& rule, std::string_view offered,
                                  Parameters& parameters) {
    while (!offered.empty()) {
        const std::size_t comma = std::min(offered.find(','), offered.size());
        const std::string_view method = offered.substr(0, comma);
        if (method == "CRC32C" || method == "None") {
            parameters.*rule.flag = method == "CRC32C";
            return method == "CRC32C" ? "CRC32C" : "None";
        }
        offered.remove_prefix(std::min(comma + 1, offered.size()));
    }
    return "Reject";
}

// The answer's value; empty: none is due.
std::string answer(const Rule& rule, std::string_view value, Stage stage, bool discovery,
                   Parameters& parameters) {
    if ((rule.stages & stage_bit(stage)) == 0) return "Reject";
    if (discovery && rule.irrelevant_in_discovery) return "Irrelevant";
    switch (rule.type) {
        case Type::boolean_or:
        case Type::boolean_and:
            return std::string(negotiate_flag(rule, value, parameters));
        case Type::minimum:
        case Type::maximum:
        case Type::declared:
            return negotiate_number(rule, value, parameters);
        case Type::digest:
            return std::string(negotiate_digest(rule, value, parameters));
        case Type::reporting:
            return list_contains(value, "RFC3720") ? "RFC3720" : "Reject";
        case Type::declared_text:
        case Type::asked:
            return {};
        case Type::obsolete_flag:
            return "No";
        case Type::target_only:
        case Type::obsolete:
            return "Reject";
    }
    return "Reject";
}

}  // namespace

Negotiation::Outcome Negotiation::offer(KeyValue pair, Stage stage, std::string& response) {
    const auto found = std::find_if(kRules.begin(), kRules.end(),
                                    [&](const Rule& rule) { return rule.key == pair.key; });
    if (found == kRules.end()) {
        // What is remembered of one negotiation is bounded as one text sequence is.
        if (seen_unknown_.size() >= kMaxKeys) return Outcome::repeated;
        if (!seen_unknown_.emplace(pair.key).second) return Outcome::repeated;
        append_pair(response, pair.key, "NotUnderstood");
        return Outcome::done;
    }
    const auto index = static_cast<std::size_t>(found - kRules.begin());
    if (seen_.test(index)) return Outcome::repeated;
    seen_.set(index);

    const bool fixed = joined_ && (found->stages & kLeadingOnly) != 0;
    const Parameters before = parameters_;
    std::string value = answer(*found, pair.value, stage, discovery_, parameters_);
    if (fixed && parameters_ != before) {
        parameters_ = before;
        value = "Reject";
    }
    if (!value.empty()) append_pair(response, pair.key, value);
    return Outcome::done;
}

void Negotiation::join(const Parameters& of_session) {
    const Parameters own = parameters_;
    parameters_ = of_session;
    parameters_.header_digest = own.header_digest;
    parameters_.data_digest = own.data_digest;
    parameters_.initiator_max_recv_data_segment_length = own.initiator_max_recv_data_segment_length;
    joined_ = true;
}

void Negotiation::declare_ours(std::string& response) {
    if (declared_) return;
    declared_ = true;
    append_pair(response, "MaxRecvDataSegmentLength", std::to_string(kMaxRecvDataSegmentLength));
}

void Negotiation::begin_sequence() {
    seen_.reset();
    seen_unknown_.clear();
}

}  // namespace goldlink::iscsi
