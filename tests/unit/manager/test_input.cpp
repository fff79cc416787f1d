#include <catch2/catch.hpp>

#include "manager/api/input.hpp"

using namespace goldlink;
using namespace goldlink::manager;
using namespace goldlink::manager::api;

TEST_CASE("input: image references") {
    const auto plain = parse_image_reference("win11");
    REQUIRE(plain);
    CHECK(plain->image == "win11");
    CHECK(plain->channel == "production");
    CHECK_FALSE(plain->version);

    const auto channel = parse_image_reference("Win-11.x:night.ly");
    REQUIRE(channel);
    CHECK(channel->channel == "night.ly");

    const auto version = parse_image_reference("win11@7");
    REQUIRE(version);
    CHECK(version->version == 7);
    CHECK_FALSE(version->channel);

    for (const std::string_view bad :
         {"", ":", "@1", "win11:", "win11@", "win11@0", "win11@-1", "win11@1x", "win11:A", "win 11",
          "win11@99999999999999999999", "win11:a:b", "a@1@2"}) {
        INFO(bad);
        const auto parsed = parse_image_reference(bad);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().status == 400);
        CHECK(parsed.error().field == "image");
    }
}

TEST_CASE("input: lease times") {
    CHECK(*parse_lease("90s") == 90);
    CHECK(*parse_lease("30m") == 1800);
    CHECK(*parse_lease("2h") == 7200);
    CHECK(*parse_lease("365d") == 365 * 86400);
    for (const std::string_view bad :
         {"", "m", "30", "0m", "-1m", "1w", "366d", "1000000s", "1.5h", " 1m"}) {
        INFO(bad);
        CHECK_FALSE(parse_lease(bad));
    }
}

TEST_CASE("input: names") {
    CHECK(is_name("PC-001"));
    CHECK(is_name("7"));
    CHECK(is_name(std::string(63, 'a')));
    for (const std::string bad : {"", "-a", ".a", "_a", "a b", "a/b", "\xc3\xa4"})
        CHECK_FALSE(is_name(bad));
    CHECK_FALSE(is_name(std::string(64, 'a')));
    CHECK(is_channel_name("production"));
    CHECK_FALSE(is_channel_name("Production"));
    CHECK_FALSE(is_channel_name("1st"));
}

TEST_CASE("input: a page of rows ends with the cursor of its last row") {
    const Page page{2, ""};
    const auto view = [](const std::string& row) { return json::object{{"name", row}}; };
    const auto key = [](const std::string& row) { return row; };
    const auto more = page_response(std::vector<std::string>{"a", "b", "c"}, page, view, key);
    CHECK(more.body == R"({"items":[{"name":"a"},{"name":"b"}],"next_cursor":"62"})");
    const auto last = page_response(std::vector<std::string>{"a", "b"}, page, view, key);
    CHECK(last.body == R"({"items":[{"name":"a"},{"name":"b"}],"next_cursor":null})");
}

TEST_CASE("refusals: the database being down is told apart and says that boots go on") {
    const Refusal down(Error{ErrorKind::unavailable, "cannot connect", 0});
    const auto response = down.response();
    CHECK(response.status == 503);
    CHECK(response.body.find("\"database-unavailable\"") != std::string::npos);
    CHECK(response.body.find("new boots go on") != std::string::npos);
}
