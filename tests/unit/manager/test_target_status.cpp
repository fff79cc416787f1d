#include <catch2/catch.hpp>

#include "manager/target_status.hpp"

using goldlink::manager::reachable_portal;

TEST_CASE("of a target's portals the caller is told one that it can pass on") {
    CHECK_FALSE(reachable_portal({}, "10.0.0.9:8080"));
    CHECK(reachable_portal({"10.0.0.1:3260", "[fd00::1]:3260"}, "[fd00::9]:80") == "10.0.0.1:3260");
    CHECK(reachable_portal({"[fd00::1]:3260"}, "10.0.0.9:8080") == "[fd00::1]:3260");
    SECTION("one on all addresses is the one that the caller came by") {
        CHECK(reachable_portal({"0.0.0.0:3260"}, "10.0.0.9:8080") == "10.0.0.9:3260");
        CHECK(reachable_portal({"[::]:3261"}, "[fd00::9]:8080") == "[fd00::9]:3261");
        CHECK(reachable_portal({"0.0.0.0:3260"}, "") == "127.0.0.1:3260");
    }
    SECTION("0.0.0.0 is not IPv6's, nor [::] IPv4's") {
        CHECK(reachable_portal({"0.0.0.0:3260", "[::]:3261"}, "[::1]:8080") == "[::1]:3261");
        CHECK(reachable_portal({"[::]:3261", "0.0.0.0:3260"}, "10.0.0.9:1") == "10.0.0.9:3260");
        CHECK(reachable_portal({"[::]:3261"}, "10.0.0.9:8080") == "[::1]:3261");
        CHECK(reachable_portal({"0.0.0.0:3260"}, "[::1]:8080") == "127.0.0.1:3260");
    }
}
