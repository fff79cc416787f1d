#include <catch2/catch.hpp>

#include "manager/cli/link_disk.hpp"

using namespace goldlink::cli;

TEST_CASE("a disk of a link is a LUN, an image reference and perhaps a policy") {
    const auto games = parse_link_disk("1=games");
    REQUIRE(games);
    CHECK(games->lun == 1);
    CHECK(games->image == "games");
    CHECK(games->policy.empty());
    const auto personal = parse_link_disk("255=personal:stable,keep");
    REQUIRE(personal);
    CHECK(personal->lun == 255);
    CHECK(personal->image == "personal:stable");
    CHECK(personal->policy == "keep");
    CHECK(parse_link_disk("2=games@7,super")->image == "games@7");
    CHECK_FALSE(personal->native_4k);
    for (const char* text : {"3=games,keep,4kn", "3=games,4kn,keep"}) {
        const auto native = parse_link_disk(text);
        REQUIRE(native);
        CHECK(native->native_4k);
        CHECK(native->policy == "keep");
    }
}

TEST_CASE("a quota is bytes, with a unit of 1024 or without, or none") {
    CHECK(**parse_quota("40G") == std::int64_t{40} << 30);
    CHECK(**parse_quota("512m") == 512 << 20);
    CHECK(**parse_quota("5000000000") == 5'000'000'000);
    CHECK(parse_quota("none").value() == std::nullopt);
    CHECK(parse_link_disk("1=games,quota=2G,keep")->quota_bytes == std::int64_t{2} << 30);
    CHECK_FALSE(parse_link_disk("1=games")->quota_bytes);
    for (const char* text :
         {"", "G", "-1", "+1", "0", "4095", "1.5G", "20 GiBs", "99999999999G", "no"}) {
        INFO(text);
        CHECK_FALSE(check_quota(text).empty());
        CHECK_FALSE(check_link_disk(std::string("1=games,quota=") + text).empty());
    }
    CHECK_FALSE(check_link_disk("1=games,quota=1G,quota=1G").empty());
}

TEST_CASE("what is no disk of a link is refused with the reason") {
    const auto why = [](const char* text) { return check_link_disk(text); };
    CHECK(why("1=games").empty());
    CHECK(why("0=games").find("LUN 0 is the image of --image") != std::string::npos);
    CHECK(why("1=games,forever").find("discard, keep or super") != std::string::npos);
    CHECK(why("1=games,").find("discard, keep or super") != std::string::npos);
    for (const char* text :
         {"", "=", "1", "1=", "=games", "256=games", "-1=games", "1 =games", "x=games", "1=ga mes",
          "1=games,keep,keep", "1=games,4kn,4kn", "1=games@0", "99999999999999999999=games"}) {
        INFO(text);
        CHECK_FALSE(why(text).empty());
    }
}
