#include <catch2/catch.hpp>

#include "manager/naming.hpp"

using namespace goldlink;
using namespace goldlink::manager;

TEST_CASE("naming: the first free name of a pattern") {
    struct Row {
        std::string pattern;
        std::vector<std::string> taken;
        std::string name;
    };
    const Row rows[] = {
        {"PC-{n:03}", {}, "PC-001"},
        {"PC-{n:03}", {"PC-001", "PC-002"}, "PC-003"},
        {"PC-{n:03}", {"PC-001", "PC-003"}, "PC-002"},
        {"PC-{n:03}", {"pc-001"}, "PC-002"},
        {"PC-{n:03}", {"PC-1"}, "PC-001"},
        {"{n}.lab", {"1.lab"}, "2.lab"},
        {"A{n:01}B", {}, "A1B"},
        {"x{n:09}", {}, "x000000001"},
    };
    for (const Row& row : rows) {
        INFO(row.pattern);
        const auto name = next_name(row.pattern, row.taken);
        REQUIRE(name);
        CHECK(*name == row.name);
    }
}

TEST_CASE("naming: what is no pattern") {
    for (const std::string pattern :
         {"", "PC", "PC-{n", "PC-n}", "PC-{m}", "PC-{n:3}", "PC-{n:00}", "PC-{n:010}", "PC {n}",
          "-{n}", "PC-{n}{n}", "PC/{n}", "\xc3\xa4{n}"}) {
        INFO(pattern);
        const auto checked = check_naming_pattern(pattern);
        REQUIRE_FALSE(checked);
        CHECK(checked.error().kind == ErrorKind::invalid);
    }
    CHECK_FALSE(check_naming_pattern(std::string(60, 'x') + "{n}"));
    CHECK(check_naming_pattern(std::string(50, 'x') + "{n:09}"));
}

TEST_CASE("naming: a pattern that is used up says so") {
    std::vector<std::string> taken;
    for (int n = 1; n <= 99'999; ++n) taken.push_back("P" + std::to_string(n));
    const auto name = next_name("P{n}", taken);
    REQUIRE_FALSE(name);
    CHECK(name.error().kind == ErrorKind::exhausted);
}

TEST_CASE("naming: IQNs are what RFC 3722 lets through") {
    CHECK(iqn_of("PC-001") == "iqn.2026-11.io.goldlink:pc-001");
    CHECK(iqn_of("Room_2.PC") == "iqn.2026-11.io.goldlink:room-2.pc");
    CHECK(initiator_of("PC-001") == "iqn.2026-11.io.goldlink.client:pc-001");
}
