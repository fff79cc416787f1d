#include <catch2/catch.hpp>

#include "target/iscsi/negotiation.hpp"

using namespace goldlink::iscsi;

namespace {

std::string answer_to(Negotiation& negotiation, std::string_view key, std::string_view value,
                      Stage stage = Stage::operational) {
    std::string response;
    REQUIRE(negotiation.offer({key, value}, stage, response) == Negotiation::Outcome::done);
    if (response.empty()) return "";
    REQUIRE(response.starts_with(std::string(key) + "="));
    REQUIRE(response.back() == '\0');
    return response.substr(key.size() + 1, response.size() - key.size() - 2);
}

}  // namespace

TEST_CASE("every key's answer, by its type and range") {
    struct Row {
        const char *key, *offer, *answer;
    };
    // RFC 7143 section 13, in its order.
    const auto row = GENERATE(values<Row>({
        {"HeaderDigest", "CRC32C,None", "CRC32C"},
        {"HeaderDigest", "None,CRC32C", "None"},
        {"HeaderDigest", "X-md5,CRC32C", "CRC32C"},
        {"HeaderDigest", "X-md5", "Reject"},
        {"DataDigest", "CRC32C", "CRC32C"},
        {"DataDigest", "None", "None"},
        {"MaxConnections", "1", "1"},
        {"MaxConnections", "2", "2"},
        {"MaxConnections", "32", "4"},
        {"MaxConnections", "0", "Reject"},
        {"MaxConnections", "65536", "Reject"},
        {"TargetName", "iqn.2026-11.x", ""},
        {"InitiatorName", "iqn.2026-11.x", ""},
        {"TargetAlias", "x", "Reject"},
        {"InitiatorAlias", "x", ""},
        {"TargetAddress", "1.2.3.4", "Reject"},
        {"TargetPortalGroupTag", "1", "Reject"},
        {"InitialR2T", "Yes", "Yes"},
        {"InitialR2T", "No", "No"},
        {"InitialR2T", "no", "Reject"},
        {"ImmediateData", "Yes", "Yes"},
        {"ImmediateData", "No", "No"},
        {"MaxRecvDataSegmentLength", "65536", ""},
        {"MaxRecvDataSegmentLength", "511", "Reject"},
        {"MaxRecvDataSegmentLength", "16777216", "Reject"},
        {"MaxBurstLength", "262144", "262144"},
        {"MaxBurstLength", "16776192", "1048576"},
        {"MaxBurstLength", "511", "Reject"},
        {"FirstBurstLength", "65536", "65536"},
        {"FirstBurstLength", "16777215", "262144"},
        {"FirstBurstLength", "64k", "Reject"},
        {"DefaultTime2Wait", "0", "0"},
        {"DefaultTime2Wait", "2", "2"},
        {"DefaultTime2Wait", "3601", "Reject"},
        {"DefaultTime2Retain", "60", "0"},
        {"DefaultTime2Retain", "-1", "Reject"},
        {"MaxOutstandingR2T", "16", "8"},
        {"MaxOutstandingR2T", "1", "1"},
        {"MaxOutstandingR2T", "0", "Reject"},
        {"DataPDUInOrder", "Yes", "Yes"},
        {"DataPDUInOrder", "No", "Yes"},
        {"DataSequenceInOrder", "No", "Yes"},
        {"ErrorRecoveryLevel", "2", "0"},
        {"ErrorRecoveryLevel", "3", "Reject"},
        {"SessionType", "Normal", ""},
        {"TaskReporting", "RFC3720", "RFC3720"},
        {"TaskReporting", "FastAbort,RFC3720", "RFC3720"},
        {"TaskReporting", "FastAbort", "Reject"},
        // RFC 7144: the lesser level; 1 is RFC 7143, which is what we do.
        {"iSCSIProtocolLevel", "1", "1"},
        {"iSCSIProtocolLevel", "2", "1"},
        {"iSCSIProtocolLevel", "31", "1"},
        {"iSCSIProtocolLevel", "0", "0"},
        {"iSCSIProtocolLevel", "32", "Reject"},
        {"X#NodeArchitecture", "x86", ""},
        {"IFMarker", "Yes", "No"},
        {"OFMarker", "No", "No"},
        // RFC 7143 13.25: Reject or No, and never NotUnderstood.
        {"IFMarkInt", "1~2", "Reject"},
        {"OFMarkInt", "1", "Reject"},
        {"IFMarkInt", "2048~8192", "Reject"},
        {"IFMarker", "No", "No"},
        {"OFMarker", "Yes", "No"},
        {"AuthMethod", "None", "Reject"},
        {"SendTargets", "All", "Reject"},
        {"X-com.example.thing", "1", "NotUnderstood"},
        {"Bogus", "1", "NotUnderstood"},
    }));
    Negotiation negotiation;
    INFO(row.key << "=" << row.offer);
    CHECK(answer_to(negotiation, row.key, row.offer) == row.answer);
}

TEST_CASE("results reach the parameters, rejects leave the defaults") {
    Negotiation n;
    answer_to(n, "HeaderDigest", "CRC32C");
    answer_to(n, "InitialR2T", "No");
    answer_to(n, "ImmediateData", "No");
    answer_to(n, "MaxRecvDataSegmentLength", "0x10000");
    answer_to(n, "MaxBurstLength", "1024");
    answer_to(n, "FirstBurstLength", "junk");
    answer_to(n, "DefaultTime2Wait", "7");
    answer_to(n, "MaxOutstandingR2T", "4");
    const Parameters& p = n.parameters();
    CHECK(p.header_digest);
    CHECK_FALSE(p.data_digest);
    CHECK_FALSE(p.initial_r2t);
    CHECK_FALSE(p.immediate_data);
    CHECK(p.initiator_max_recv_data_segment_length == 65536);
    CHECK(p.max_burst_length == 1024);
    CHECK(p.first_burst_length == 65536);
    CHECK(p.first_burst_limit() == 1024);  // never above MaxBurstLength
    CHECK(p.default_time2wait == 7);
    CHECK(p.max_outstanding_r2t == 4);
}

TEST_CASE("a key may come once in a negotiation") {
    for (const char* key : {"MaxBurstLength", "X-unknown", "InitiatorName"}) {
        Negotiation n;
        std::string response;
        CHECK(n.offer({key, "1024"}, Stage::operational, response) == Negotiation::Outcome::done);
        CHECK(n.offer({key, "1024"}, Stage::operational, response) ==
              Negotiation::Outcome::repeated);
        n.begin_sequence();
        CHECK(n.offer({key, "1024"}, Stage::operational, response) == Negotiation::Outcome::done);
    }
}

TEST_CASE("keys outside their stage are rejected") {
    Negotiation n;
    CHECK(answer_to(n, "HeaderDigest", "None", Stage::security) == "Reject");
    CHECK(answer_to(n, "MaxRecvDataSegmentLength", "4096", Stage::security).empty());
    CHECK(n.parameters().initiator_max_recv_data_segment_length == 4096);
    n.begin_sequence();
    CHECK(answer_to(n, "MaxBurstLength", "4096", Stage::full_feature) == "Reject");
    CHECK(n.parameters().max_burst_length == 262144);
    CHECK(answer_to(n, "SendTargets", "All", Stage::full_feature).empty());
    CHECK(answer_to(n, "MaxRecvDataSegmentLength", "8192", Stage::full_feature).empty());
}

TEST_CASE("keys of normal sessions are irrelevant to discovery") {
    for (const char* key : {"MaxConnections", "InitialR2T", "ImmediateData", "MaxBurstLength",
                            "FirstBurstLength", "MaxOutstandingR2T", "DataPDUInOrder",
                            "DataSequenceInOrder", "TaskReporting", "iSCSIProtocolLevel"}) {
        Negotiation n;
        n.set_discovery();
        CHECK(answer_to(n, key, "1") == "Irrelevant");
    }
    Negotiation n;
    n.set_discovery();
    CHECK(answer_to(n, "HeaderDigest", "None") == "None");
    CHECK(answer_to(n, "ErrorRecoveryLevel", "2") == "0");
}

TEST_CASE("we declare our segment length once") {
    Negotiation n;
    std::string response;
    n.declare_ours(response);
    CHECK(response == std::string("MaxRecvDataSegmentLength=262144\0", 32));
    n.declare_ours(response);
    CHECK(response.size() == 32);
}
