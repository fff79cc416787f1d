// Who finds what, and where it is: SendTargets (RFC 7143 appendix C) against lists of initiators
// and CHAP, and links that send their logins to another portal (11.13.5).
#include <catch2/catch.hpp>

#include "tests/unit/iscsi/world.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using namespace goldlink::iscsi::test;

namespace {

constexpr std::uint8_t kSecurity = 0x00, kSecurityToFull = 0x83, kOperationalToFull = 0x87;
constexpr const char* kListed = "iqn.2026-11.io.goldlink:listed";
constexpr const char* kProtected = "iqn.2026-11.io.goldlink:protected";
constexpr const char* kBoth = "iqn.2026-11.io.goldlink:both";

std::uint16_t status_of(const std::vector<Reply>& replies) {
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == Opcode::login_response);
    return replies[0].login_status();
}

// One link of each kind: open, for one initiator, with CHAP, with both.
void furnish(World& world) {
    for (const char* iqn : {kListed, kProtected, kBoth}) world.add_target(iqn);
    world.entry(kListed).allowed_initiators = {"iqn.a:Friend"};
    world.entry(kProtected).credentials = {{"alice", "secret-of-alice", "", "", 0}};
    world.entry(kBoth).allowed_initiators = {"iqn.a:friend"};
    world.entry(kBoth).credentials = {{"bob", "secret-of-bobby", "", "", 0}};
}

std::string discovery_of(const std::string& name) {
    return pairs({"InitiatorName=" + name, "SessionType=Discovery"});
}

std::string send_targets(Peer& peer, std::string_view value) {
    Request request(Opcode::text, kFinal);
    std::string text;
    append_pair(text, "SendTargets", value);
    request.immediate().with(text);
    request.writer.itt(9).ttt(kReservedTag).be32(24, peer.cmd_sn);
    const auto replies = peer.send(request);
    REQUIRE(replies.size() == 1);
    REQUIRE(replies[0].opcode() == Opcode::text_response);
    return std::string(replies[0].text());
}

std::vector<std::string> names_in(const std::string& text) {
    std::vector<std::string> names;
    const auto keys = parse_text(text);
    REQUIRE(keys);
    for (const KeyValue& pair : *keys)
        if (pair.key == "TargetName")
            names.emplace_back(pair.value.substr(pair.value.rfind(':') + 1));
    return names;
}

std::vector<std::string> seen_by(World& world, const std::string& name) {
    Peer peer(world);
    REQUIRE(status_of(peer.login_request(kOperationalToFull, discovery_of(name))) == 0);
    return names_in(send_targets(peer, "All"));
}

std::vector<std::string> seen_with_chap(World& world, const std::string& name,
                                        std::string_view user, std::string_view secret) {
    Peer peer(world);
    REQUIRE(status_of(peer.login_request(
                kSecurity, discovery_of(name) + pairs({"AuthMethod=CHAP,None"}))) == 0);
    const auto offer = peer.login_request(kSecurity, pairs({"CHAP_A=8"}));
    REQUIRE(status_of(offer) == 0);
    const auto id = parse_number(*offer[0].value("CHAP_I"));
    const auto challenge = parse_binary(*offer[0].value("CHAP_C"), 1024);
    REQUIRE((id && challenge));
    std::string answer;
    append_pair(answer, "CHAP_N", user);
    append_pair(answer, "CHAP_R",
                format_binary(chap_response(ChapAlgorithm::sha3_256, static_cast<std::uint8_t>(*id),
                                            secret, *challenge)));
    if (status_of(peer.login_request(kSecurityToFull, answer)) != 0) return {"refused"};
    return names_in(send_targets(peer, "All"));
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("discovery shows an initiator what its name may use, and no link that wants proof") {
    World world;
    furnish(world);
    CHECK(seen_by(world, "iqn.a:stranger") == Names{"pc-001"});
    // Named by the admin: shown, though logging in to it takes the secret as well.
    CHECK(seen_by(world, "iqn.a:friend") == Names{"both", "listed", "pc-001"});
    CHECK(seen_by(world, "IQN.A:FRIEND") == Names{"both", "listed", "pc-001"});
}

TEST_CASE("discovery with CHAP shows what the proven credential opens, beside what is open") {
    World world;
    furnish(world);
    CHECK(seen_with_chap(world, "iqn.a:stranger", "alice", "secret-of-alice") ==
          Names{"pc-001", "protected"});
    CHECK(seen_with_chap(world, "iqn.a:friend", "bob", "secret-of-bobby") ==
          Names{"both", "listed", "pc-001"});
    // bob's link is not the stranger's, so bob's secret proves nothing about the stranger.
    CHECK(seen_with_chap(world, "iqn.a:stranger", "bob", "secret-of-bobby") == Names{"refused"});
    CHECK(seen_with_chap(world, "iqn.a:stranger", "alice", "secret-of-bobby") == Names{"refused"});
}

TEST_CASE("asking for one target by name shows no more than asking for all") {
    World world;
    furnish(world);
    Peer stranger(world);
    REQUIRE(status_of(stranger.login_request(kOperationalToFull, discovery_of("iqn.a:other"))) ==
            0);
    for (const char* hidden : {kListed, kProtected, kBoth, "iqn.a:none"})
        CHECK(send_targets(stranger, hidden).empty());
    CHECK(names_in(send_targets(stranger, World::kTarget)) == Names{"pc-001"});
}

TEST_CASE("a session is told of its own target, whatever that one asks for") {
    World world;
    Peer peer(world);
    peer.login();
    world.entry().credentials = {{"alice", "secret-of-alice", "", "", 0}};
    CHECK(names_in(send_targets(peer, "")) == Names{"pc-001"});
}

TEST_CASE("a redirected link sends its logins on, before it asks for a secret") {
    World world;
    world.entry().credentials = {{"alice", "secret-of-alice", "", "", 0}};
    const bool permanent = GENERATE(false, true);
    world.entry().redirect = Redirect{"[2001:db8::2]:3260", permanent};
    const std::string who =
        pairs({"InitiatorName=iqn.a:friend", "TargetName=iqn.2026-11.io.goldlink:pc-001"});
    Peer peer(world);
    const auto replies = peer.login_request(kSecurity, who + pairs({"AuthMethod=CHAP,None"}));
    CHECK(status_of(replies) == (permanent ? 0x0102 : 0x0101));
    CHECK(replies[0].text() == pairs({"TargetAddress=[2001:db8::2]:3260"}));  // no group tag: 13.8
    CHECK(replies[0].bhs().tsih() == 0);
    CHECK(peer.connection().closing());
    CHECK(world.link().started.empty());
    CHECK(world.refusals.empty());
    CHECK(world.environment.counters.logins_redirected.get() == 1);
    CHECK(world.environment.counters.logins_refused.get() == 0);

    SECTION("a stranger does not learn where it is") {
        world.entry().allowed_initiators = {"iqn.a:friend"};
        Peer stranger(world);
        CHECK(status_of(stranger.login_request(kSecurity,
                                               pairs({"InitiatorName=iqn.a:stranger",
                                                      "TargetName=iqn.2026-11.io.goldlink:pc-001",
                                                      "AuthMethod=CHAP"}))) == 0x0202);
    }
    SECTION("sessions that were there before stay") {
        world.entry().credentials.clear();
        world.entry().redirect.reset();
        Peer before(world);
        before.login();
        world.entry().redirect = Redirect{"10.0.0.2:3260", permanent};
        CHECK(before.read(0, 1).size() == 1);
    }
}

TEST_CASE("a link that is sent to the portal it is asked at is served there") {
    World world;
    world.entry().redirect = Redirect{"10.0.0.1:3260", true};  // a Peer's own
    Peer peer(world);
    peer.login();
    CHECK(peer.read(0, 1).size() == 1);
    world.entry().redirect = Redirect{"10.1.0.1:3260", true};
    Peer other(world);
    CHECK(status_of(other.login_request(
              kOperationalToFull, pairs({"InitiatorName=iqn.a:b",
                                         "TargetName=iqn.2026-11.io.goldlink:pc-001"}))) == 0x0102);
}

TEST_CASE("SendTargets names the place that a link has moved to for good, with a group tag") {
    World world;
    world.entry().redirect = Redirect{"10.0.0.2:3260", true};
    Peer peer(world);
    REQUIRE(status_of(peer.login_request(kOperationalToFull, discovery_of("iqn.a:b"))) == 0);
    CHECK(send_targets(peer, "All") ==
          pairs({"TargetName=iqn.2026-11.io.goldlink:pc-001", "TargetAddress=10.0.0.2:3260,1"}));
    // For now only: initiators are to come back here, and are sent on at each login.
    world.entry().redirect = Redirect{"10.0.0.2:3260", false};
    CHECK(send_targets(peer, "All") ==
          pairs({"TargetName=iqn.2026-11.io.goldlink:pc-001", "TargetAddress=10.0.0.1:3260,1",
                 "TargetAddress=10.1.0.1:3260,1"}));
}
