#include <catch2/catch.hpp>

#include "manager/api/link_standing.hpp"

using namespace goldlink::manager;
using namespace goldlink::manager::api;
using Catch::Matchers::Contains;
namespace json = goldlink::json;

namespace {

db::Link link_in(const std::string& state) {
    db::Link link;
    link.state = state;
    return link;
}

LiveLink live(const char* text) { return json::parse_object(text).value(); }
LiveLink no_answer(int status, const char* detail) {
    return tl::unexpected(PeerError{status, "", detail});
}

}  // namespace

TEST_CASE("a link is ready only when the target at hand serves it") {
    const db::Link link = link_in("ready");
    CHECK(standing_of(link, live(R"({"ready": true})")) == LinkStanding{"ready", std::nullopt});
    const auto missing = standing_of(link, no_answer(404, "no link"));
    CHECK(missing.state == "pending");
    CHECK_THAT(*missing.problem, Contains("does not have the link"));
    const auto hung = standing_of(link, no_answer(0, "the target does not answer"));
    CHECK(hung.state == "pending");
    CHECK_THAT(*hung.problem, Contains("the target does not answer"));
    CHECK(standing_of(link, live(R"({"ready": false, "problem": "no store"})")) ==
          LinkStanding{"failed", "no store"});
}

TEST_CASE("a disk whose storage failed is the link's problem") {
    const auto standing = standing_of(
        link_in("ready"), live(R"({"ready": true, "running": [{"lun": 0, "problem": null},
                                            {"lun": 2, "problem": "storage failed"}]})"));
    CHECK(standing == LinkStanding{"ready", "LUN 2: storage failed"});
}

TEST_CASE("what the registry knows to be amiss stays as it noted it") {
    db::Link link = link_in("failed");
    link.problem = "no such version";
    CHECK(standing_of(link, live(R"({"ready": true})")) ==
          LinkStanding{"failed", "no such version"});
    CHECK(standing_of(link_in("pending"), no_answer(404, "")) ==
          LinkStanding{"pending", std::nullopt});
}
