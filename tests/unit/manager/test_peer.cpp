#include <catch2/catch.hpp>

#include "manager/peer.hpp"

using Catch::Matchers::Contains;
using goldlink::manager::Peer;

TEST_CASE("a manager that leads no more calls nobody") {
    bool leads = true;
    const Peer peer("target", "unix:/nonexistent/target.sock", [&] { return leads; });
    CHECK_THAT(peer.call("PUT", "/links").error().detail, Contains("does not answer"));
    leads = false;
    const auto refused = peer.call("PUT", "/links");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().no_answer());
    CHECK_THAT(refused.error().detail, Contains("does not lead any more"));
}
