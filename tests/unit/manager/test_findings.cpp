#include <catch2/catch.hpp>

#include "manager/findings.hpp"

using namespace goldlink::manager;
using Catch::Matchers::Contains;
namespace json = goldlink::json;

TEST_CASE("a database that has no connection left is not one that hangs") {
    for (const char* said : {"FATAL:  sorry, too many clients already",
                             "FATAL:  remaining connection slots are reserved for superusers"}) {
        const Finding finding = database_finding(said);
        CHECK_THAT(finding.problem, Contains(said) && Contains("used up"));
        CHECK_THAT(finding.to_do, Contains("max_connections"));
    }
    const Finding hung = database_finding("PostgreSQL does not answer");
    CHECK_THAT(hung.problem, !Contains("used up"));
    CHECK_THAT(hung.to_do, Contains("restart it if it hangs"));
}

TEST_CASE("links that are not served are counted, and the first are named") {
    goldlink::manager::db::LinkTrouble trouble;
    trouble.total = 9;
    trouble.failed = 4;
    trouble.first = {{"PC-001", "no version"}, {"PC-002", "quota"}};
    CHECK(links_finding(trouble).problem ==
          "4 of 9 links are not served: PC-001 (no version); PC-002 (quota); and 2 more");
    CHECK(is_degrading(links_finding(trouble)));
    CHECK_FALSE(is_outage(links_finding(trouble)));
    trouble.total = 4;
    CHECK_THAT(links_finding(trouble).problem, Contains("none of the 4 links"));
    CHECK(is_outage(links_finding(trouble)));
}

TEST_CASE("what a daemon says is wrong is passed on with its way out") {
    const auto status = json::parse_object(
        R"({"problems": [{"area": "storage", "message": "no room", "advice": "make some"},
                         {"area": "links", "message": "1 of 2", "advice": "look"}, 7],
            "store": {"problem": "not mounted"}, "state_problem": null})");
    REQUIRE(status);
    const auto all = findings_of(*status, "");
    REQUIRE(all.size() == 3);
    CHECK(all[0] == Finding{"storage", "no room", "make some"});
    CHECK(all[1] == Finding{"links", "1 of 2", "look", true});
    CHECK(all[2].source == "store");
    CHECK_THAT(all[2].problem, Contains("not mounted"));
    CHECK(findings_of(*status, "links").size() == 2);
}

TEST_CASE("a state file that was set aside is told and makes nothing degraded") {
    CHECK_FALSE(is_degrading({"state", "tasks.json cannot be used", "look"}));
    for (const char* source : {"database", "storage", "links", "store", "target", "pxe"})
        CHECK(is_degrading({source, "x", "y"}));
}
