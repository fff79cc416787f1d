#include <catch2/catch.hpp>

#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kSecurityToOperational = 0x81, kSecurityToFull = 0x83;
constexpr std::uint8_t kOperationalToFull = 0x87, kOperational = 0x04, kSecurity = 0x00;

const std::string kWho = pairs(
    {"InitiatorName=iqn.1993-08.org.debian:01:test", "TargetName=iqn.2026-11.io.goldlink:pc-001"});

std::uint16_t status_of(const std::vector<Reply>& replies) {
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == Opcode::login_response);
    return replies[0].login_status();
}

void protect(World& world) {
    world.entry().credentials = {{"alice", "lasting-secret-1", "target", "mutual-secret-99", 0},
                                 {"once", "one-time-secret-2", "", "", 7}};
}

// The answer to a CHAP challenge in a reply.
std::string chap_answer(const Reply& challenge, std::string_view secret) {
    const auto number = parse_number(*challenge.value("CHAP_A"));
    const auto id = parse_number(*challenge.value("CHAP_I"));
    const auto bytes = parse_binary(*challenge.value("CHAP_C"), 1024);
    REQUIRE((number && id && bytes));
    return format_binary(chap_response(static_cast<ChapAlgorithm>(*number),
                                       static_cast<std::uint8_t>(*id), secret, *bytes));
}

std::uint16_t login_with_chap(Peer& peer, std::string_view name, std::string_view secret,
                              const char* algorithms = "5") {
    auto replies =
        peer.login_request(kSecurityToOperational, kWho + pairs({"AuthMethod=CHAP,None"}));
    REQUIRE(status_of(replies) == 0);
    CHECK(replies[0].flags() == kSecurity);  // not before the challenge
    CHECK(replies[0].value("AuthMethod") == "CHAP");
    std::string offer;
    append_pair(offer, "CHAP_A", algorithms);
    replies = peer.login_request(kSecurity, offer);
    REQUIRE(status_of(replies) == 0);
    std::string answer;
    append_pair(answer, "CHAP_N", name);
    append_pair(answer, "CHAP_R", chap_answer(replies[0], secret));
    replies = peer.login_request(kSecurityToOperational, answer);
    const auto status = status_of(replies);
    if (status != 0) return status;
    CHECK(replies[0].flags() == kSecurityToOperational);
    replies = peer.login_request(kOperationalToFull, pairs({"MaxBurstLength=262144"}));
    return status_of(replies);
}

}  // namespace

TEST_CASE("a login without authentication reaches full feature phase in one exchange") {
    World world;
    Peer peer(world);
    peer.cmd_sn = 77;
    const auto replies = peer.login_request(
        kOperationalToFull, kWho + pairs({"HeaderDigest=None", "MaxRecvDataSegmentLength=65536"}));
    REQUIRE(status_of(replies) == 0);
    const Reply& r = replies[0];
    CHECK(r.flags() == kOperationalToFull);
    CHECK(r.bhs().tsih() != 0);
    CHECK(r.bhs().isid() == peer.isid);
    CHECK(r.bhs().itt() == peer.itt);
    CHECK(r.be32(28) == 77);            // ExpCmdSN: the login is immediate
    CHECK(r.be32(32) == 77 + 128 - 1);  // MaxCmdSN
    CHECK(r.value("TargetPortalGroupTag") == "1");
    CHECK(r.value("HeaderDigest") == "None");
    CHECK(r.value("MaxRecvDataSegmentLength") == "262144");  // our declaration
    CHECK_FALSE(r.value("InitialR2T"));                      // only offered keys are answered
    CHECK(world.link().started.size() == 1);
    CHECK(world.link().started[0].initiator_name == "iqn.1993-08.org.debian:01:test");
    CHECK(world.link().started[0].address == "10.0.0.7:41234");
    CHECK(world.environment.counters.logins.get() == 1);
}

TEST_CASE("the link's alias is told with the first response, and not to discovery") {
    World world;
    world.entry().alias = "PC-001 (window)";
    Peer peer(world);
    auto replies = peer.login_request(kSecurityToOperational, kWho + pairs({"AuthMethod=None"}));
    REQUIRE(status_of(replies) == 0);
    CHECK(replies[0].value("TargetAlias") == "PC-001 (window)");
    replies = peer.login_request(kOperationalToFull, "");
    CHECK_FALSE(replies[0].value("TargetAlias"));
    Peer finder(world);
    replies = finder.login_request(kOperationalToFull,
                                   pairs({"InitiatorName=iqn.a:b", "SessionType=Discovery"}));
    REQUIRE(status_of(replies) == 0);
    CHECK_FALSE(replies[0].value("TargetAlias"));
    CHECK_FALSE(replies[0].value("TargetPortalGroupTag"));
}

// RFC 7143 section 13 marks these "any stage": they may come with each request of a login.
TEST_CASE("declarations are taken in each request of the login") {
    World world;
    const auto [stage, declaration] = GENERATE(table<std::uint8_t, std::string>({
        {kSecurity, "SessionType=Normal"},
        {kSecurity, "InitiatorAlias=pc one"},
        {kSecurity, "MaxRecvDataSegmentLength=512"},
        {kSecurity, "X#NodeArchitecture=x86"},
        {kOperational, "SessionType=Normal"},
        {kOperational, "InitiatorAlias=pc one"},
        {kOperational, "MaxRecvDataSegmentLength=512"},
        {kOperational, "X#NodeArchitecture=x86"},
    }));
    INFO(declaration);
    Peer peer(world);
    if (stage == kSecurity) {
        REQUIRE(status_of(peer.login_request(kSecurity, kWho)) == 0);
        const auto replies = peer.login_request(kSecurity, pairs({declaration}));
        REQUIRE(status_of(replies) == 0);
        CHECK(replies[0].data.empty());
        REQUIRE(status_of(peer.login_request(kSecurityToOperational, pairs({"AuthMethod=None"}))) ==
                0);
    } else {
        REQUIRE(status_of(peer.login_request(kOperational, kWho)) == 0);
        const auto replies = peer.login_request(kOperational, pairs({declaration}));
        REQUIRE(status_of(replies) == 0);
        CHECK(replies[0].data.empty());
    }
    CHECK(status_of(peer.login_request(kOperationalToFull, "")) == 0);
    if (declaration == "MaxRecvDataSegmentLength=512") {
        peer.read(0, 1);  // the unit attention of a new session
        CHECK(peer.read(0, 4).size() == 4);
    }
}

TEST_CASE("who logs in to what is settled by the first request") {
    World world;
    world.add_target("iqn.2026-11.io.goldlink:pc-002");
    Peer peer(world);
    SECTION("another session type later") {
        REQUIRE(status_of(peer.login_request(kOperational, kWho)) == 0);
        CHECK(status_of(peer.login_request(kOperationalToFull, pairs({"SessionType=Discovery"}))) ==
              0x0200);
    }
    SECTION("a discovery session that becomes normal") {
        REQUIRE(status_of(peer.login_request(
                    kOperational, pairs({"InitiatorName=iqn.a:b", "SessionType=Discovery"}))) == 0);
        CHECK(status_of(peer.login_request(kOperationalToFull, pairs({"SessionType=Normal"}))) ==
              0x0200);
    }
    SECTION("another target later") {
        REQUIRE(status_of(peer.login_request(kOperational, kWho)) == 0);
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           pairs({"TargetName=iqn.2026-11.io.goldlink:pc-002"}))) ==
              0x0200);
    }
    SECTION("another initiator later") {
        REQUIRE(status_of(peer.login_request(kOperational, kWho)) == 0);
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           pairs({"InitiatorName=iqn.a:other"}))) == 0x0200);
    }
    SECTION("names only in the second request") {
        CHECK(status_of(peer.login_request(kOperational, pairs({"MaxBurstLength=512"}))) == 0x0207);
    }
    CHECK(world.refusals.size() == 1);
    CHECK(world.link().started.empty());
}

TEST_CASE("Windows logs in: two stages and its own offers") {
    World world;
    Peer peer(world, "iqn.1991-05.com.microsoft:pc-001");
    auto replies = peer.login_request(
        kSecurityToOperational,
        pairs({"InitiatorName=iqn.1991-05.com.microsoft:pc-001", "SessionType=Normal",
               "TargetName=iqn.2026-11.io.goldlink:pc-001", "AuthMethod=None"}));
    REQUIRE(status_of(replies) == 0);
    CHECK(replies[0].flags() == kSecurityToOperational);
    CHECK(replies[0].value("TargetPortalGroupTag") == "1");  // in the first response
    replies = peer.login_request(
        kOperationalToFull,
        pairs({"HeaderDigest=None,CRC32C", "DataDigest=None,CRC32C",
               "MaxRecvDataSegmentLength=65536", "DefaultTime2Wait=0", "DefaultTime2Retain=60",
               "ErrorRecoveryLevel=2", "InitialR2T=No", "ImmediateData=Yes",
               "MaxBurstLength=262144", "FirstBurstLength=65536", "MaxConnections=32",
               "MaxOutstandingR2T=16"}));
    REQUIRE(status_of(replies) == 0);
    const Reply& r = replies[0];
    CHECK(r.value("HeaderDigest") == "None");
    CHECK(r.value("ErrorRecoveryLevel") == "0");
    CHECK(r.value("InitialR2T") == "No");
    CHECK(r.value("MaxConnections") == "4");
    CHECK(r.value("MaxBurstLength") == "262144");
    CHECK(r.value("FirstBurstLength") == "65536");
    CHECK_FALSE(r.value("TargetPortalGroupTag"));  // once
}

TEST_CASE("each refusal has its status") {
    World world;
    Peer peer(world);
    const std::string name = pairs({"InitiatorName=iqn.a:b"});
    SECTION("unknown target") {
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           name + pairs({"TargetName=iqn.a:none"}))) == 0x0203);
        CHECK(world.refusals == std::vector<std::string>{"no such target"});
    }
    SECTION("initiator not allowed") {
        world.entry().allowed_initiators = {"iqn.a:other"};
        CHECK(status_of(peer.login_request(kOperationalToFull, kWho)) == 0x0202);
        CHECK(world.refusals.size() == 1);
    }
    SECTION("no InitiatorName") {
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           pairs({"TargetName=iqn.2026-11.io.goldlink:pc-001"}))) ==
              0x0207);
    }
    SECTION("no TargetName") {
        CHECK(status_of(peer.login_request(kOperationalToFull, name)) == 0x0207);
    }
    SECTION("InitiatorName is no UTF-8") {
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           pairs({"InitiatorName=iqn.evil:\xff\xfe",
                                                  "TargetName=iqn.2026-11.io.goldlink:pc-001"}))) ==
              0x0200);
        REQUIRE(world.refusals.size() == 1);
        CHECK(world.refusals[0].find("it is not UTF-8") != std::string::npos);
        CHECK(world.link().started.empty());
    }
    SECTION("InitiatorName is no name") {
        CHECK(status_of(peer.login_request(kOperationalToFull, pairs({"InitiatorName=x"}))) ==
              0x0200);
    }
    SECTION("unknown session type") {
        CHECK(status_of(peer.login_request(kOperationalToFull,
                                           kWho + pairs({"SessionType=Odd"}))) == 0x0209);
    }
    SECTION("malformed text") {
        CHECK(status_of(peer.login_request(kOperationalToFull, "InitiatorName")) == 0x0200);
    }
    SECTION("a key twice") {
        CHECK(status_of(peer.login_request(
                  kOperationalToFull,
                  kWho + pairs({"MaxBurstLength=512", "MaxBurstLength=512"}))) == 0x0200);
    }
    SECTION("impossible transition") {
        CHECK(status_of(peer.login_request(0x84, kWho)) == 0x0200);  // operational to security
    }
    SECTION("reserved stage") { CHECK(status_of(peer.login_request(0x08, kWho)) == 0x0200); }
    SECTION("T and C at once") { CHECK(status_of(peer.login_request(0xc7, kWho)) == 0x0200); }
    SECTION("version") {
        Request request(Opcode::login, kOperationalToFull);
        request.immediate().with(kWho);
        request.header[2] = request.header[3] = 1;
        CHECK(status_of(peer.send(request)) == 0x0205);
    }
    SECTION("link going away") {
        world.link().going_away = true;
        CHECK(status_of(peer.login_request(kOperationalToFull, kWho)) == 0x0301);
    }
    SECTION("another PDU first") {
        CHECK(status_of(peer.send(Request(Opcode::nop_out, kFinal))) == 0x020b);
    }
    SECTION("oversized request") {
        Request request(Opcode::login, kOperationalToFull);
        request.immediate().with(ByteVector(8193, 'x'));
        CHECK(status_of(peer.send(request)) == 0x0200);
    }
    SECTION("unknown TSIH") {
        peer.tsih = 99;
        CHECK(status_of(peer.login_request(kOperationalToFull, kWho)) == 0x020a);
    }
    SECTION("the link moved to another reactor") {
        world.entry().reactor = 3;
        CHECK(status_of(peer.login_request(kOperationalToFull, kWho)) == 0x0301);
    }
    CHECK(peer.connection().closing());
    CHECK(peer.connection().finished());
    CHECK(world.environment.counters.logins_refused.get() == 1);
    // Told once; a link that is going away tells why itself.
    CHECK(world.refusals.size() == (world.link().going_away ? 0U : 1U));
}

TEST_CASE("changed tags between requests are refused") {
    World world;
    Peer peer(world);
    CHECK(status_of(peer.login_request(kOperational, kWho)) == 0);
    peer.isid = 5;
    CHECK(status_of(peer.login_request(kOperationalToFull, "")) == 0x0200);
}

TEST_CASE("text in pieces is put together, within bounds") {
    World world;
    Peer peer(world);
    auto replies = peer.login_request(0x44, kWho.substr(0, 20));  // C
    REQUIRE(status_of(replies) == 0);
    CHECK(replies[0].flags() == kOperational);
    CHECK(replies[0].data.empty());
    CHECK(status_of(peer.login_request(kOperationalToFull, kWho.substr(20))) == 0);
    CHECK(peer.connection().logged_in());

    SECTION("endless pieces") {
        Peer other(world);
        const std::string much(8000, 'x');
        std::uint16_t status = 0;
        int requests = 0;
        while (status == 0 && ++requests < 100) status = status_of(other.login_request(0x44, much));
        CHECK(status == 0x0200);
        CHECK(requests == 9);  // 64 KiB
    }
    SECTION("endless requests") {
        Peer other(world);
        std::uint16_t status = status_of(other.login_request(kOperational, kWho));
        int requests = 1;
        while (status == 0 && ++requests < 100)
            status = status_of(other.login_request(kOperational, ""));
        CHECK(status == 0x0200);
        CHECK(requests == static_cast<int>(Login::kMaxRequests) + 1);
    }
}

TEST_CASE("CHAP: right secrets log in, and the credential's generation is told") {
    World world;
    protect(world);
    for (const char* algorithm : {"5", "6", "7", "8", "8,7,6,5"}) {
        Peer peer(world);
        CHECK(login_with_chap(peer, "alice", "lasting-secret-1", algorithm) == 0);
    }
    Peer once(world);
    CHECK(login_with_chap(once, "once", "one-time-secret-2") == 0);
    CHECK(world.link().started.back().generation == 7);
}

TEST_CASE("CHAP: what is wrong is 0201") {
    World world;
    protect(world);
    Peer peer(world);
    SECTION("wrong secret") { CHECK(login_with_chap(peer, "alice", "wrong") == 0x0201); }
    SECTION("the security stage skipped") {
        CHECK(status_of(peer.login_request(kOperationalToFull, kWho)) == 0x0201);
    }
    SECTION("only None offered") {
        CHECK(status_of(peer.login_request(kSecurityToOperational,
                                           kWho + pairs({"AuthMethod=None"}))) == 0x0201);
    }
    SECTION("no method offered, straight to full feature phase") {
        CHECK(status_of(peer.login_request(kSecurityToFull, kWho)) == 0x0201);
    }
    SECTION("response before the method") {
        CHECK(status_of(peer.login_request(
                  kSecurity, kWho + pairs({"CHAP_N=alice", "CHAP_R=0x00"}))) == 0x0200);
    }
    SECTION("response before the challenge") {
        REQUIRE(status_of(peer.login_request(kSecurity, kWho + pairs({"AuthMethod=CHAP"}))) == 0);
        CHECK(status_of(peer.login_request(kSecurity, pairs({"CHAP_N=alice", "CHAP_R=0x00"}))) ==
              0x0201);
    }
    SECTION("the method again after it was agreed") {
        REQUIRE(status_of(peer.login_request(kSecurity, kWho + pairs({"AuthMethod=CHAP"}))) == 0);
        CHECK(status_of(peer.login_request(kSecurityToOperational, pairs({"AuthMethod=None"}))) ==
              0x0200);
    }
    CHECK(world.link().started.empty());
    CHECK(world.refusals.size() == 1);
}

TEST_CASE("CHAP: asking to go on without an answer does not go on") {
    World world;
    protect(world);
    Peer peer(world);
    REQUIRE(status_of(peer.login_request(kSecurity, kWho + pairs({"AuthMethod=CHAP"}))) == 0);
    REQUIRE(status_of(peer.login_request(kSecurity, pairs({"CHAP_A=5"}))) == 0);
    for (int i = 0; i < 3; ++i) {
        const auto replies = peer.login_request(kSecurityToFull, "");
        REQUIRE(status_of(replies) == 0);
        CHECK(replies[0].flags() == kSecurity);
    }
    CHECK_FALSE(peer.connection().logged_in());
}

TEST_CASE("CHAP: mutual, and an open link refuses initiators that insist on CHAP") {
    World world;
    Peer insisting(world);
    CHECK(status_of(insisting.login_request(kSecurity, kWho + pairs({"AuthMethod=CHAP"}))) ==
          0x0201);
    protect(world);
    Peer peer(world);
    REQUIRE(status_of(peer.login_request(kSecurity, kWho + pairs({"AuthMethod=CHAP"}))) == 0);
    auto replies = peer.login_request(kSecurity, pairs({"CHAP_A=7"}));
    std::string answer = pairs({"CHAP_N=alice", "CHAP_I=9", "CHAP_C=0x0102030405060708"});
    append_pair(answer, "CHAP_R", chap_answer(replies[0], "lasting-secret-1"));
    replies = peer.login_request(kSecurityToFull, answer);
    REQUIRE(status_of(replies) == 0);
    CHECK(replies[0].value("CHAP_N") == "target");
    const ByteVector challenge{1, 2, 3, 4, 5, 6, 7, 8};
    CHECK(replies[0].value("CHAP_R") ==
          format_binary(chap_response(ChapAlgorithm::sha256, 9, "mutual-secret-99", challenge)));
    CHECK(peer.connection().logged_in());
}

TEST_CASE("session reinstatement: the same port again ends its older session first") {
    World world;
    Peer first(world), second(world);
    first.login();
    CHECK(world.environment.sessions.size() == 1);
    const auto replies = second.login_request(kOperationalToFull, kWho);
    CHECK(replies.empty());  // not before the older one is gone
    CHECK(first.connection().closing());
    first.destroy_if_finished();
    CHECK(first.gone());
    CHECK(world.link().ended == std::vector<SessionEnd>{SessionEnd::reinstated});
    const auto late = second.replies();
    REQUIRE(status_of(late) == 0);
    CHECK(second.connection().logged_in());
    CHECK(second.read(0, 1).size() == 1);
    CHECK(world.environment.sessions.size() == 1);
}

TEST_CASE("reinstatement waits for commands that the disk still has") {
    World world;
    Peer first(world), second(world);
    first.login();
    world.link().disk->hold = true;
    CHECK(first.read(0, 1).empty());
    CHECK(second.login_request(kOperationalToFull, kWho).empty());
    first.destroy_if_finished();
    CHECK_FALSE(first.gone());
    world.link().disk->complete_held();
    first.destroy_if_finished();
    CHECK(first.gone());
    CHECK(status_of(second.replies()) == 0);
}

TEST_CASE("of two logins that wait for the same session the later one gets it") {
    World world;
    Peer first(world), second(world), third(world);
    first.login();
    world.link().disk->hold = true;
    first.read(0, 1);
    CHECK(second.login_request(kOperationalToFull, kWho).empty());
    CHECK(third.login_request(kOperationalToFull, kWho).empty());
    CHECK(status_of(second.replies()) == 0x0200);
    world.link().disk->complete_held();
    first.destroy_if_finished();
    CHECK(status_of(third.replies()) == 0);
}

TEST_CASE("other ISIDs of the same initiator are sessions of their own") {
    World world;
    Peer ipxe(world), system(world);
    ipxe.login();
    system.isid = 0x400027230001;
    system.login();
    CHECK(system.tsih != ipxe.tsih);
    CHECK(world.environment.sessions.size() == 2);
    CHECK(ipxe.read(0, 1).size() == 1);
    CHECK(system.read(0, 1).size() == 1);
    Peer second_connection(world);
    second_connection.tsih = ipxe.tsih;
    second_connection.cid = 1;
    CHECK(status_of(second_connection.login_request(kOperationalToFull, kWho)) == 0x0206);
}

TEST_CASE("the name of the target may be written in capitals") {
    World world;
    Peer peer(world);
    CHECK(status_of(peer.login_request(
              kOperationalToFull,
              pairs({"InitiatorName=IQN.A:B", "TargetName=IQN.2026-11.io.Goldlink:PC-001"}))) == 0);
    CHECK(world.link().started[0].initiator_name == "iqn.a:b");
}

TEST_CASE("a login that takes too long is refused in the log and closed") {
    World world;
    Peer peer(world);
    peer.connection().login_timed_out();
    CHECK(peer.connection().closing());
    CHECK(world.refusals.size() == 1);
    Peer in_time(world);
    in_time.login();
    in_time.connection().login_timed_out();
    CHECK_FALSE(in_time.connection().closing());
}

TEST_CASE("the first request's target name is found without a login") {
    CHECK(Login::peek_target_name(as_bytes(kWho)) == "iqn.2026-11.io.goldlink:pc-001");
    CHECK_FALSE(Login::peek_target_name(as_bytes("junk")));
    CHECK_FALSE(Login::peek_target_name({}));
}
