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
    auto log = EventLog::open(folder.path() / "events");
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
        auto log = EventLog::open(file);
        CHECK(log->append("a", {}) == 1);
        CHECK(log->append("b", {}) == 2);
    }
    {
        auto log = EventLog::open(file);
        CHECK(events_of(log->page(0)).size() == 2);
        CHECK(log->append("c", {}) == 3);
    }
    // What a kill leaves: no closing mark, the last line torn.
    std::string content = *read_file(file, 1 << 20);
    content.resize(content.rfind("{\"closed"));
    std::ofstream(file) << content << "{\"seq\":4,\"ti";
    auto log = EventLog::open(file);
    CHECK(events_of(log->page(0)).size() == 3);
    CHECK(log->append("d", {}) == 3 + EventLog::kCrashGap + 1);
}

TEST_CASE("only the newest events are kept, in memory and in the file") {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "events";
    {
        auto log = EventLog::open(file, 10);
        for (int i = 0; i < 95; ++i) log->append("e", {});
        const auto kept = events_of(log->page(0));
        REQUIRE(kept.size() == 10);
        CHECK(seq_of(kept.front()) == 86);
    }
    auto log = EventLog::open(file, 10);
    CHECK(events_of(log->page(0)).size() == 10);
    CHECK(log->append("f", {}) == 96);
    const std::string content = *read_file(file, 1 << 20);
    CHECK(std::count(content.begin(), content.end(), '\n') <= 21);
}

TEST_CASE("a waiter is woken by an event, by its time, by its peer's end and by close") {
    TemporaryFolder folder;
    auto log = EventLog::open(folder.path() / "events");
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

TEST_CASE("where the file cannot be written the log goes on in memory, and says so") {
    auto log = EventLog::open("/proc/no/events");
    CHECK(log->append("a", {}) == 1);
    CHECK(events_of(log->page(0)).size() == 1);
    const auto problems = log->problems();
    REQUIRE(problems.size() == 1);
    CHECK(problems[0].area == "storage");
    CHECK(problems[0].message.find("/proc/no/events") != std::string::npos);
}

TEST_CASE("a file that could not be written catches up by itself") {
    TemporaryFolder folder;
    const fs::path later = folder.path() / "later";
    auto log = EventLog::open(later / "events");
    log->append("a", {});
    log->append("b", {});
    REQUIRE_FALSE(log->problems().empty());
    fs::create_directory(later);  // no further event comes
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!log->problems().empty() && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(10ms);
    CHECK(log->problems().empty());
    log.reset();
    log = EventLog::open(later / "events");
    CHECK(events_of(log->page(0)).size() == 2);
    CHECK(log->append("c", {}) == 3);
}

TEST_CASE("a run that could not write gives no number that the next one gives again") {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "events";
    {
        auto log = EventLog::open(file);
        CHECK(log->append("a", {}) == 1);
    }
    // The disk is full: a file beside it cannot be made, as a folder has its name.
    fs::create_directories(folder.path() / "events.new" / "full");
    std::string after_kill;
    {
        auto log = EventLog::open(file);
        CHECK(log->append("b", {}) == 2);
        after_kill = *read_file(file, 1 << 20);  // what a kill would leave now
        fs::remove_all(folder.path() / "events.new");
    }
    std::ofstream(file, std::ios::trunc) << after_kill;
    auto log = EventLog::open(file);
    CHECK(events_of(log->page(0)).size() == 1);
    CHECK(log->append("c", {}) == 1 + EventLog::kCrashGap + 1);
}

TEST_CASE("a damaged file is set aside, what can be read of it stays") {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "events";
    {
        auto log = EventLog::open(file);
        log->append("a", {});
        log->append("b", {});
    }
    const std::string whole = *read_file(file, 1 << 20);
    const std::string first = whole.substr(0, whole.find('\n') + 1);
    struct Case {
        std::string content;
        std::size_t events;
        bool aside;
    };
    const Case cases[] = {{first + "garbage\n" + whole.substr(first.size()), 2, true},
                          {std::string(5000, '\x7f'), 0, true},
                          {std::string("\0\0\n\0\0\n", 6), 0, true},
                          {first + "{\"seq\":2,\"ti", 1, false},
                          {"", 0, false}};
    for (const Case& one : cases) {
        for (const auto& entry : fs::directory_iterator(folder.path())) fs::remove(entry.path());
        std::ofstream(file) << one.content;
        Problems problems;
        auto log = EventLog::open(file, EventLog::kKeep, &problems);
        CHECK(events_of(log->page(0)).size() == one.events);
        CHECK(problems.list().size() == (one.aside ? 1 : 0));
        std::size_t kept = 0;
        for (const auto& entry : fs::directory_iterator(folder.path()))
            if (entry.path().filename().string().starts_with("events.damaged-")) {
                ++kept;
                CHECK(*read_file(entry.path(), 1 << 20) == one.content);
            }
        CHECK(kept == (one.aside ? 1 : 0));
        log->append("c", {});
        CHECK(events_of(log->page(0)).size() == one.events + 1);
    }
    fs::remove(file);
    fs::create_directory(file);
    Problems problems;
    auto log = EventLog::open(file, EventLog::kKeep, &problems);
    CHECK(problems.list().size() == 1);
    CHECK(log->problems().empty());
}
