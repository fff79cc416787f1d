#include <catch2/catch.hpp>
#include <chrono>

#include "manager/cli/text.hpp"

using namespace goldlink;
using namespace goldlink::cli;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("a table's columns are as wide as their widest cell, and empty cells show a dash") {
    Table table({"NAME", "NOTE"});
    CHECK(table.empty());
    table.add({"win11", ""});
    table.add({"a", "with Office"});
    CHECK_FALSE(table.empty());
    CHECK(table.to_string() == "NAME   NOTE\nwin11  -\na      with Office\n");
}

TEST_CASE("a table counts code points and lets no control character through") {
    Table table({"NAME", "X"});
    table.add({"K\xC3\xB6ln", "1"});
    table.add({"e\x1B[2J", "2"});
    CHECK(table.to_string() == "NAME   X\nK\xC3\xB6ln   1\ne\xEF\xBF\xBD[2J  2\n");
}

TEST_CASE("bytes in the unit that keeps them short") {
    CHECK(format_bytes(0) == "0 B");
    CHECK(format_bytes(1023) == "1023 B");
    CHECK(format_bytes(4096) == "4.0 KiB");
    CHECK(format_bytes((1ULL << 20) - 1) == "1.0 MiB");
    CHECK(format_bytes(42949672960ULL) == "40.0 GiB");
    CHECK(format_bytes(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("durations") {
    CHECK(format_duration(milliseconds(350)) == "0.35 s");
    CHECK(format_duration(milliseconds(12'340)) == "12.3 s");
    CHECK(format_duration(seconds(65)) == "1:05");
    CHECK(format_duration(seconds(7390)) == "2:03:10");
    CHECK(format_duration(milliseconds(-1)) == "-");
    CHECK(format_age(seconds(-5)) == "0 s");
    CHECK(format_age(seconds(119)) == "1 min");
    CHECK(format_age(seconds(200'000)) == "2 d");
}

TEST_CASE("RFC 3339 times are read exactly, and what is none is refused") {
    const auto epoch_ms = [](std::string_view text) {
        const auto time = parse_time(text);
        REQUIRE(time);
        return std::chrono::duration_cast<milliseconds>(time->time_since_epoch()).count();
    };
    CHECK(epoch_ms("1970-01-01T00:00:00Z") == 0);
    CHECK(epoch_ms("2026-11-21T09:06:17.123Z") == 1795251977123);
    CHECK(epoch_ms("2026-11-21T09:06:17.123456+00:00") == 1795251977123);
    for (const char* bad :
         {"", "2026-11-21", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T24:00:00Z",
          "2026-11-21T09:06:17", "2026-11-21T09:06:17.Zx", "20x6-11-21T09:06:17Z"})
        CHECK_FALSE(parse_time(bad));
    CHECK(format_time("soon\n") == "soon\xEF\xBF\xBD");
}

TEST_CASE("image references") {
    const auto name = parse_image_ref("win11");
    REQUIRE(name);
    CHECK(name->name == "win11");
    CHECK(name->channel.empty());
    CHECK_FALSE(name->version);
    const auto channel = parse_image_ref("win11:test");
    REQUIRE(channel);
    CHECK(channel->channel == "test");
    const auto version = parse_image_ref("lab.v2@17");
    REQUIRE(version);
    CHECK(version->name == "lab.v2");
    CHECK(version->version == 17);
    for (const char* bad :
         {"", ":test", "win11:", "win11@", "win11@0", "win11@-1", "win11@7x", "win11@7:test", "a b",
          ".hidden", "win11:a/b", "win11@99999999999999999999"})
        CHECK_FALSE(parse_image_ref(bad));
    CHECK(parse_image_ref(std::string(63, 'a')));
    CHECK_FALSE(parse_image_ref(std::string(64, 'a')));
}

TEST_CASE("leases have a unit and bounds") {
    CHECK(parse_lease("30m") == seconds(1800));
    CHECK(parse_lease("10s") == seconds(10));
    CHECK(parse_lease("30d") == seconds(30 * 86400));
    for (const char* bad :
         {"", "30", "m", "0m", "-5m", "9s", "31d", "1w", "30 m", "99999999999999999999s"})
        CHECK_FALSE(parse_lease(bad));
}
