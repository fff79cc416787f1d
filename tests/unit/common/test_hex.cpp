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

TEST_CASE("base64 is that of RFC 4648 section 10") {
    const auto text = [](std::string_view plain) { return to_base64(as_bytes(plain)); };
    CHECK(text("").empty());
    CHECK(text("f") == "Zg==");
    CHECK(text("fo") == "Zm8=");
    CHECK(text("foo") == "Zm9v");
    CHECK(text("foob") == "Zm9vYg==");
    CHECK(text("fooba") == "Zm9vYmE=");
    CHECK(text("foobar") == "Zm9vYmFy");
    CHECK(text("\xff\xfb\xf0") == "//vw");
}

TEST_CASE("constant-time comparison compares") {
    CHECK(equal_constant_time("secret", "secret"));
    CHECK_FALSE(equal_constant_time("secret", "secreT"));
    CHECK_FALSE(equal_constant_time("secret", "secre"));
}
