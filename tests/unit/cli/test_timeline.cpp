#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <sstream>
#include <vector>

#include "manager/cli/timeline.hpp"

using goldlink::cli::draw_timeline;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

}  // namespace

TEST_CASE("a boot is drawn stage by stage on one scale") {
    const auto boot =
        boost::json::parse(R"({"started_at": "2026-11-21T09:00:00Z", "state": "running",
        "firmware": "bios", "address": "10.0.0.7", "problem": null, "stages": [
        {"stage": "dhcp", "after_ms": 0, "detail": ""},
        {"stage": "login", "after_ms": 8000, "detail": "from 10.0.0.7"},
        {"stage": "nbp", "after_ms": 2000, "detail": "undionly.kpxe"},
        {"stage": "first_write", "after_ms": 16000, "detail": ""},
        {"stage": "end", "after_ms": 3600000, "detail": ""}]})");
    const auto lines = lines_of(draw_timeline(boot));
    REQUIRE(lines.size() == 8);
    CHECK(lines[0].ends_with(", running, bios, 10.0.0.7"));
    CHECK(lines[1].empty());
    CHECK(lines[3].starts_with("dhcp "));
    CHECK(lines[3].find("2.00 s  ====  ") != std::string::npos);
    // In order of time, whatever order they came in.
    CHECK(lines[4].starts_with("nbp "));
    CHECK(lines[4].find("6.00 s      ============  ") != std::string::npos);
    CHECK(lines[4].ends_with("fetched the boot program: undionly.kpxe"));
    CHECK(lines[5].find("========") != std::string::npos);
    // The last stage before the end took no time we could know; an hour of use is not drawn.
    CHECK(lines[6].find('|') != std::string::npos);
    CHECK(lines[7].starts_with("end "));
    CHECK(lines[7].find("1:00:00") != std::string::npos);
    CHECK(lines[7].find('=') == std::string::npos);
}

TEST_CASE("a boot that failed says why, and one without stages draws no table") {
    const auto boot = boost::json::parse(
        R"({"started_at": "?", "state": "failed", "problem": "iPXE never logged in", "stages": []})");
    const auto lines = lines_of(draw_timeline(boot));
    REQUIRE(lines.size() == 2);
    CHECK(lines[0] == "boot      ?, failed");
    CHECK(lines[1] == "problem   iPXE never logged in");
}

TEST_CASE("stages all at once, or with nonsense times, draw without harm") {
    for (const char* after : {"0", "-5", "9000000000000000"}) {
        const auto boot =
            boost::json::parse(std::string(R"({"stages": [{"stage": "dhcp", "after_ms": )") +
                               after + R"(}, {"stage": "nbp", "after_ms": 0}, {"stage": 7}]})");
        for (const auto& line : lines_of(draw_timeline(boot))) CHECK(line.size() < 120);
    }
}
