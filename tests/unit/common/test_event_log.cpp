#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "common/event_log.hpp"
#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

json::array events_of(const std::string& page) {
    return *json::array_field(*json::parse_object(page), "events", 100000);
}
std::int64_t next_of(const std::string& page) {
    return *json::int_field(*json::parse_object(page), "next", 0, INT64_MAX);
}
std::int64_t seq_of(const json::value& event) { return event.at("seq").as_int64(); }

}  // namespace

TEST_CASE("events come in order, once each, in pages") {
    TemporaryFolder folder;
    auto log = *EventLog::open(folder.path() / "events");
    for (int i = 0; i < 2500; ++i) log->append("login", {{"link_id", std::to_string(i)}});
    std::int64_t after = 0;
    std::int64_t seen = 0;
    for (int pages = 0; pages < 3; ++pages) {
        const std::string page = log->page(static_cast<std::uint64_t>(after));
        for (const auto& event : events_of(page)) {
            CHECK(seq_of(event) == ++seen);
            CHECK(event.at("kind") == "login");
        }
        after = next_of(page);
    }
    CHECK(seen == 2500);
    CHECK(events_of(log->page(2500)).empty());
    CHECK(next_of(log->page(2500)) == 2500);
    CHECK(events_of(log->page(999999)).size() == 1000);  // a history that is not this one
}

TEST_CASE("numbers go on after a clean end, and jump after a kill") {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "events";
    {
        auto log = *EventLog::open(file);
        CHECK(log->append("a", {}) == 1);
        CHECK(log->append("b", {}) == 2);
    }
    {
        auto log = *EventLog::open(file);
        CHECK(events_of(log->page(0)).size() == 2);
        CHECK(log->append("c", {}) == 3);
    }
    // What a kill leaves: no closing mark, the last line torn.
    std::string content = *read_file(file, 1 << 20);
    content.resize(content.rfind("{\"closed"));
    std::ofstream(file) << content << "{\"seq\":4,\"ti";
    auto log = *EventLog::open(file);
    CHECK(events_of(log->page(0)).size() == 3);
    CHECK(log->append("d", {}) == 3 + EventLog::kCrashGap + 1);
}

TEST_CASE("only the newest events are kept, in memory and in the file") {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "events";
    {
        auto log = *EventLog::open(file, 10);
        for (int i = 0; i < 95; ++i) log->append("e", {});
        const auto kept = events_of(log->page(0));
        REQUIRE(kept.size() == 10);
        CHECK(seq_of(kept.front()) == 86);
    }
    auto log = *EventLog::open(file, 10);
    CHECK(events_of(log->page(0)).size() == 10);
    CHECK(log->append("f", {}) == 96);
    const std::string content = *read_file(file, 1 << 20);
    CHECK(std::count(content.begin(), content.end(), '\n') <= 21);
}

TEST_CASE("a waiter is woken by an event, by its time, by its peer's end and by close") {
    TemporaryFolder folder;
    auto log = *EventLog::open(folder.path() / "events");
    const auto never = [] { return false; };
    CHECK(events_of(log->wait_page(0, 20ms, never)).empty());
    CHECK(events_of(log->wait_page(0, 60s, [] { return true; })).empty());
    std::thread writer([&] { log->append("a", {}); });
    CHECK(events_of(log->wait_page(0, 60s, never)).size() == 1);
    writer.join();
    std::thread closer([&] { log->close(); });
    CHECK(events_of(log->wait_page(1, 60s, never)).empty());
    closer.join();
}

TEST_CASE("a folder that cannot be written is an error at the start") {
    CHECK_FALSE(EventLog::open("/proc/no/events"));
}
