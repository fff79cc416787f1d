#include <catch2/catch.hpp>
#include <set>

#include "common/hex.hpp"

using namespace goldlink;

TEST_CASE("hex round trip and refusals") {
    const auto bytes = from_hex("00fFa5");
    REQUIRE(bytes);
    CHECK(to_hex(*bytes) == "00ffa5");
    CHECK_FALSE(from_hex("0"));
    CHECK_FALSE(from_hex("zz"));
    CHECK(from_hex("")->empty());
}

TEST_CASE("random text has the promised shape and differs") {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const auto uuid = random_uuid();
        CHECK(is_uuid(uuid));
        CHECK(uuid[14] == '4');
        CHECK(seen.insert(uuid).second);
        CHECK(random_secret(16).size() == 16);
        CHECK(seen.insert(random_secret(16)).second);
    }
    CHECK_FALSE(is_uuid("00000000-0000-0000-0000-00000000000g"));
    CHECK_FALSE(is_uuid("short"));
}

TEST_CASE("constant-time comparison compares") {
    CHECK(equal_constant_time("secret", "secret"));
    CHECK_FALSE(equal_constant_time("secret", "secreT"));
    CHECK_FALSE(equal_constant_time("secret", "secre"));
}
