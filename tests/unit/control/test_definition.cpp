#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "common/json.hpp"
#include "target/control/link_definition.hpp"
#include "target/control/link_state.hpp"

using namespace goldlink;
using namespace goldlink::control;

namespace {

const std::string kDigestA(64, 'a');
const std::string kDigestB(64, 'b');
constexpr std::string_view kId = "6f1f9a52-0c1d-4e0a-9a53-0b1f6d0c7e11";

LinkDefinition definition(disk::Policy policy, const std::string& version) {
    LinkDefinition link;
    link.id = std::string(kId);
    link.revision = 3;
    link.iqn = "iqn.2026-11.io.goldlink:pc-001";
    link.disks = {{0, version, policy, 0}};
    return link;
}

}  // namespace

TEST_CASE("iSCSI names are those of RFC 7143 4.2.7") {
    for (const std::string good :
         {"iqn.2026-11.io.goldlink:pc-001", "iqn.1991-05.com.microsoft:host.example.com",
          "iqn.2001-04.com.example", "eui.02004567a425678d", "naa.52004567ba64678d",
          "naa.62004567ba64678d0123456789abcdef"}) {
        INFO(good);
        CHECK(check_iscsi_name(good));
    }
    for (const std::string bad :
         {"", "pc-001", "iqn.", "iqn.2026-11.", "iqn.2026-00.io.x:y", "iqn.2026-1.io.x:y",
          "iqn.26-11.io.x:y", "iqn.2026-11.io.x:Y", "iqn.2026-11.io.x:a b", "iqn.2026-11.io.x:a_b",
          "iqn.2026-11.:y", "iqn.2026-11..x:y", "iqn.2026-11.x.:y", "eui.02004567a425678",
          "eui.02004567A425678D", "naa.5200", "iqn.2026-11.io.x:\xc3\xbc"}) {
        INFO(bad);
        CHECK_FALSE(check_iscsi_name(bad));
    }
    CHECK(check_iscsi_name("iqn.2026-11.io.x:" + std::string(206, 'y')));
    CHECK_FALSE(check_iscsi_name("iqn.2026-11.io.x:" + std::string(207, 'y')));
    CHECK(check_initiator_name("iqn.2010-04.org.ipxe:PC_001"));
    CHECK_FALSE(check_initiator_name("a,b"));
}

TEST_CASE("a definition survives being written and read") {
    LinkDefinition link = definition(disk::Policy::keep, kDigestA);
    link.alias = "PC-001";
    link.disks.push_back({3, kDigestB, disk::Policy::super, 1 << 30});
    link.credentials.push_back({"u", "secret-secret", "m", "other-secret-1", 0});
    link.allowed_initiators = {"iqn.2026-11.io.x:y"};
    const auto read = LinkDefinition::parse(link.to_json(true), kId);
    REQUIRE(read);
    CHECK(read->disks == link.disks);
    CHECK(read->iqn == link.iqn);
    CHECK(read->revision == 3);
    CHECK(read->credentials.at(0).mutual_secret == "other-secret-1");
    CHECK(read->allowed_initiators == link.allowed_initiators);
    CHECK(boost::json::serialize(link.to_json(false)).find("secret-secret") == std::string::npos);
    CHECK_FALSE(LinkDefinition::parse(link.to_json(true), "6f1f9a52-0c1d-4e0a-9a53-0b1f6d0c7e12"));
}

TEST_CASE("no secret of a link serves both directions of CHAP, whichever credential has it") {
    LinkDefinition link = definition(disk::Policy::discard, kDigestA);
    link.credentials = {{"a", "secret-of-a-12", "target", "mutual-of-a-12", 0},
                        {"b", "secret-of-b-12", "target", "mutual-of-a-12", 0}};
    CHECK(LinkDefinition::parse(link.to_json(true), kId));
    link.credentials[1].secret = "mutual-of-a-12";
    CHECK_FALSE(LinkDefinition::parse(link.to_json(true), kId));
    link.credentials.pop_back();
    link.credentials[0].secret = "mutual-of-a-12";
    CHECK_FALSE(LinkDefinition::parse(link.to_json(true), kId));
    for (const auto& [length, valid] :
         {std::pair{11U, false}, {12U, true}, {16U, true}, {255U, true}, {256U, false}}) {
        link.credentials[0] = {"a", std::string(length, 's'), "", "", 0};
        CHECK(LinkDefinition::parse(link.to_json(true), kId).has_value() == valid);
    }
}

TEST_CASE("a new generation makes fresh overlays for discard and carries the kept ones on") {
    LinkDefinition link = definition(disk::Policy::discard, kDigestA);
    link.disks.push_back({1, kDigestB, disk::Policy::keep, 0});
    const GenerationState first = plan_generation(link, nullptr, 1, true);
    CHECK(first.disks.at(0).overlay == "lun0-g1");
    CHECK(first.disks.at(1).overlay == "lun1-g1");
    const GenerationState second = plan_generation(link, &first, 2, false);
    CHECK(second.disks.at(0).overlay == "lun0-g2");
    CHECK(second.disks.at(1).overlay == "lun1-g1");
    const GenerationState reset = plan_generation(link, &second, 3, true);
    CHECK(reset.disks.at(1).overlay == "lun1-g3");
    link.disks[1].version = kDigestA;  // an overlay is of one version only
    CHECK(plan_generation(link, &second, 4, false).disks.at(1).overlay == "lun1-g4");
    link.disks[1].version = kDigestB;
    link.disks[1].policy = disk::Policy::super;
    CHECK(plan_generation(link, &second, 5, false).disks.at(1).overlay == "lun1-g5");
}

TEST_CASE("a disk that starts anew alone leaves the others what they are") {
    LinkDefinition link = definition(disk::Policy::discard, kDigestA);
    link.disks.push_back({1, kDigestB, disk::Policy::keep, 0});
    link.disks.push_back({2, kDigestA, disk::Policy::discard, 0});
    const GenerationState first = plan_generation(link, nullptr, 1, true);
    link.disks[0].version = kDigestB;  // wanted at the next boot, not now
    link.disks[2].version = kDigestB;
    const GenerationState renewed = plan_renewal(link, first, 2, 2);
    CHECK(renewed.number == 2);
    CHECK(renewed.disks.at(0) == first.disks.at(0));
    CHECK(renewed.disks.at(1) == first.disks.at(1));
    CHECK(renewed.disks.at(2).overlay == "lun2-g2");
    CHECK(renewed.disks.at(2).version == kDigestB);
    CHECK(plan_renewal(link, first, 3, 1).disks.at(1).overlay == "lun1-g3");
}

TEST_CASE("a cdrom has no overlay, policy or quota, and a disk may have blocks of 4 KiB") {
    LinkDefinition link = definition(disk::Policy::discard, kDigestA);
    link.disks.push_back({1, kDigestB, disk::Policy::discard, 0, DiskType::cdrom});
    link.disks.push_back({2, kDigestA, disk::Policy::keep, 0, DiskType::disk, 4096});
    const auto read = LinkDefinition::parse(link.to_json(true));
    REQUIRE(read);
    CHECK(read->disks == link.disks);
    LinkState state;
    state.definition = link;
    state.current = plan_generation(link, nullptr, 1, true);
    CHECK(state.current.disks.at(1).overlay.empty());
    CHECK(state.current.disks.at(2).logical_block_bytes == 4096);
    const auto state_read = LinkState::parse(state.to_json());
    REQUIRE(state_read);
    CHECK(state_read->current.disks == state.current.disks);
    link.disks[2].logical_block_bytes = 512;  // what was written in other blocks is not carried on
    CHECK(plan_generation(link, &state.current, 2, false).disks.at(2).overlay == "lun2-g2");

    const auto refused = [](std::string_view members) {
        const std::string text = R"({"revision":1,"iqn":"iqn.2026-11.io.goldlink:pc","disks":[)"
                                 R"({"lun":0,"version":")" +
                                 kDigestA + "\"," + std::string(members) + "}]}";
        return !LinkDefinition::parse(*json::parse_object(text), kId);
    };
    CHECK_FALSE(refused(R"("type":"cdrom")"));
    CHECK_FALSE(refused(R"("type":"cdrom","policy":"discard","quota_bytes":null)"));
    CHECK_FALSE(refused(R"("policy":"keep","logical_block_bytes":4096)"));
    for (const char* bad :
         {R"("type":"cdrom","policy":"keep")", R"("type":"cdrom","quota_bytes":4096)",
          R"("type":"cdrom","logical_block_bytes":4096)", R"("type":"tape","policy":"discard")",
          R"("type":"disk")", R"("policy":"keep","logical_block_bytes":2048)",
          R"("policy":"keep","logical_block_bytes":1024)", R"("policy":"keep","type":5)"}) {
        INFO(bad);
        CHECK(refused(bad));
    }
}

TEST_CASE("a link has a LUN 0") {
    LinkDefinition link = definition(disk::Policy::discard, kDigestA);
    CHECK(LinkDefinition::parse(link.to_json(true)));
    link.disks[0].lun = 1;
    CHECK_FALSE(LinkDefinition::parse(link.to_json(true)));
}

TEST_CASE("a link's state survives being written and read, and says which versions it needs") {
    LinkState state;
    state.definition = definition(disk::Policy::discard, kDigestA);
    state.current = plan_generation(state.definition, nullptr, 7, true);
    state.current.logged_in = true;
    state.current.username = "x-7";
    state.current.secret = "0123456789abcdef";
    CHECK(state.next_number() == 8);
    state.definition.disks[0].version = kDigestB;
    state.pending = plan_generation(state.definition, &state.current, 8, false);
    state.pending->boot_id = std::string(kId);
    state.redirect = iscsi::Redirect{"[2001:db8::2]:3260", true};
    CHECK(state.next_number() == 9);
    const auto read = LinkState::parse(state.to_json());
    REQUIRE(read);
    CHECK(read->current.disks == state.current.disks);
    CHECK(read->current.secret == state.current.secret);
    CHECK(read->current.logged_in);
    CHECK_FALSE(read->current.os_logged_in);
    REQUIRE(read->pending);
    CHECK(read->pending->boot_id == kId);
    CHECK(read->pending->number == 8);
    CHECK(read->redirect == state.redirect);
    state.redirect.reset();
    CHECK_FALSE(LinkState::parse(state.to_json())->redirect);
    CHECK(read->refers_to(kDigestA));
    CHECK(read->refers_to(kDigestB));
    CHECK_FALSE(read->refers_to(std::string(64, 'c')));
    auto escaped = state.to_json();
    escaped["current"].as_object()["disks"].as_array()[0].as_object()["overlay"] = "../x";
    CHECK_FALSE(LinkState::parse(escaped));
}

TEST_CASE("a redirect names one address and port, spelled as connections report them") {
    const auto parse = [](boost::json::value portal) {
        return parse_redirect({{"portal", std::move(portal)}, {"permanent", true}});
    };
    CHECK(parse("10.0.0.2:3260")->portal == "10.0.0.2:3260");
    CHECK(parse("[2001:DB8:0::2]:3260")->portal == "[2001:db8::2]:3260");
    CHECK(parse("[::1]:1")->permanent);
    CHECK_FALSE(parse_redirect({{"portal", "10.0.0.2:3260"}})->permanent);
    for (const char* bad : {"", "10.0.0.2", "10.0.0.2:0", "0.0.0.0:3260", "[::]:3260", "::1:3260",
                            "host.example:3260", "10.0.0.2:3260,1"})
        CHECK_FALSE(parse(bad));
    CHECK_FALSE(parse(7));
    CHECK_FALSE(parse_redirect({{"portal", "10.0.0.2:3260"}, {"for", "ever"}}));
    CHECK_FALSE(parse_redirect({}));
}

TEST_CASE("a disk's identity hangs on its link and lun alone") {
    CHECK(serial_number(kId, 0) == serial_number(kId, 0));
    CHECK(serial_number(kId, 0).size() == 20);
    CHECK(serial_number(kId, 0) != serial_number(kId, 1));
    CHECK((naa_identifier(kId, 0) >> 60) == 3);
    CHECK(naa_identifier(kId, 0) != naa_identifier(kId, 1));
}
