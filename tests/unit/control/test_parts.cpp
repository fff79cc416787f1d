// The small parts of the control plane: what they promise to the larger ones.
#include <atomic>
#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <future>
#include <map>
#include <thread>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "target/control/background.hpp"
#include "target/control/control_context.hpp"
#include "target/control/refusal_filter.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
using namespace goldlink::control;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

class TextBody : public http::BodyReader {
  public:
    TextBody(std::string text, std::uint64_t declared, bool breaks)
        : text_(std::move(text)), declared_(declared), breaks_(breaks) {}
    Result<std::size_t> read(std::span<char> buffer) override {
        const std::size_t n = std::min(buffer.size(), text_.size() - at_);
        if (n == 0 && breaks_) return failure(ErrorKind::unavailable, "the peer is gone");
        std::copy_n(text_.data() + at_, n, buffer.data());
        at_ += n;
        return n;
    }
    std::uint64_t declared_length() const override { return declared_; }

  private:
    std::string text_;
    std::uint64_t declared_;
    bool breaks_;
    std::size_t at_ = 0;
};

std::string state_of(const TaskQueue& queue, const std::string& id) {
    const auto report = queue.report(id);
    return report ? *json::string_field(*json::parse_object(*report), "state", 1, 20) : "none";
}

void await_state(const TaskQueue& queue, const std::string& id, const std::string& state) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (state_of(queue, id) != state) {
        REQUIRE(std::chrono::steady_clock::now() < end);
        std::this_thread::sleep_for(2ms);
    }
}

}  // namespace

TEST_CASE("background work runs in order and all of it") {
    std::vector<int> order;
    {
        Background background;
        for (int i = 0; i < 100; ++i) background.post([&order, i] { order.push_back(i); });
    }
    REQUIRE(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a saved state holds what was true when the saver asked") {
    TemporaryFolder folder;
    std::atomic<int> value{0};
    std::atomic<int> writes{0};
    StateFile file(folder.path() / "state", [&] {
        ++writes;
        return std::to_string(value.load());
    });
    std::vector<std::thread> savers;
    std::atomic<bool> stale{false};
    for (int t = 0; t < 8; ++t)
        savers.emplace_back([&] {
            for (int i = 0; i < 20; ++i) {
                const int mine = ++value;
                if (!file.save() || std::stoi(*read_file(folder.path() / "state", 100)) < mine)
                    stale = true;
            }
        });
    for (auto& saver : savers) saver.join();
    CHECK_FALSE(stale);
    CHECK(writes <= 160);
    StateFile nowhere("/proc/no/state", [] { return std::string(); });
    CHECK_FALSE(nowhere.save());
}

TEST_CASE("the same refusal is told once in a while, with how often it happened") {
    RefusalFilter filter;
    const RefusalFilter::Time start = std::chrono::steady_clock::now();
    CHECK(filter.admit("a", start) == 0U);
    CHECK(filter.admit("b", start) == 0U);
    for (int i = 0; i < 5; ++i) CHECK_FALSE(filter.admit("a", start + 1s));
    CHECK(filter.admit("a", start + RefusalFilter::kRepeatSeconds) == 5U);
    CHECK_FALSE(filter.admit("a", start + RefusalFilter::kRepeatSeconds + 1s));
    // A flood of different names is bounded, and told as one.
    std::size_t told = 0;
    for (int i = 0; i < 20000; ++i)
        told += filter.admit("flood" + std::to_string(i), start + 40s) ? 1U : 0U;
    CHECK(told <= RefusalFilter::kMaxKeys + 1);
}

TEST_CASE("an upload appears whole or not at all, with holes for zeroes") {
    TemporaryFolder folder;
    store::SpaceAccount space(0);
    UploadSpool spool(folder.path() / "uploads", space);
    REQUIRE(spool.open());
    std::string content = std::string(3 << 20, '\0') + "end";
    content[1 << 20] = 'x';
    TextBody whole(content, 0, false);
    REQUIRE(spool.receive("a.raw", whole));
    CHECK(*read_file(folder.path() / "uploads" / "a.raw", 4 << 20) == content);
    TextBody broken("something else", 100, true);
    CHECK(spool.receive("a.raw", broken).error().kind == ErrorKind::unavailable);
    CHECK(*read_file(folder.path() / "uploads" / "a.raw", 4 << 20) == content);
    TextBody huge("", std::uint64_t{1} << 60, false);
    CHECK(spool.receive("b.raw", huge).error().kind == ErrorKind::exhausted);
    for (const std::string bad : {"", ".a", "../a", "a/b", "a b"}) {
        TextBody body("x", 1, false);
        CHECK(spool.receive(bad, body).error().kind == ErrorKind::invalid);
    }
    CHECK(std::distance(fs::directory_iterator(folder.path() / "uploads"),
                        fs::directory_iterator()) == 1);
    CHECK(spool.find("a.raw"));
    CHECK(spool.find("b.raw").error().kind == ErrorKind::not_found);
    REQUIRE(spool.remove("a.raw"));
    REQUIRE(spool.remove("a.raw"));
    REQUIRE(replace_file(folder.path() / "uploads" / ".c.part", "x"));
    REQUIRE(spool.open());
    CHECK(fs::is_empty(folder.path() / "uploads"));
}

TEST_CASE("a task runs once per id, reports, and is remembered over a restart") {
    TemporaryFolder folder;
    auto events = EventLog::open(folder.path() / "events");
    const std::string done = random_uuid();
    const std::string failed = random_uuid();
    const std::string stuck = random_uuid();
    std::atomic<int> runs{0};
    std::atomic<bool> let_go{false};
    const auto runner = [&](const TaskRequest& request,
                            store::Progress& progress) -> Result<std::string> {
        ++runs;
        progress.total_bytes = 10;
        if (request.arguments.at("do") == "fail")
            return failure(ErrorKind::corrupt, "it is \"broken\"");
        while (request.arguments.at("do") == "wait" && !let_go && !progress.cancel)
            std::this_thread::sleep_for(1ms);
        if (progress.cancel) return failure(ErrorKind::cancelled, "cancelled");
        progress.done_bytes = 10;
        return std::string("\"version\":{\"digest\":\"d\"}");
    };
    {
        TaskQueue queue(folder.path() / "tasks", runner, *events);
        Problems problems;
        queue.load(problems);
        queue.start();
        REQUIRE(queue.add({done, "import", {{"do", "it"}}}));
        await_state(queue, done, "done");
        REQUIRE(queue.add({done, "import", {{"do", "it"}}}));
        CHECK(queue.add({done, "import", {{"do", "other"}}}).error().kind == ErrorKind::conflict);
        CHECK(queue.add({"no-uuid", "import", {}}).error().kind == ErrorKind::invalid);
        REQUIRE(queue.add({failed, "import", {{"do", "fail"}}}));
        await_state(queue, failed, "failed");
        CHECK(runs == 2);
        REQUIRE(queue.add({stuck, "import", {{"do", "wait"}}}));
        const auto end = std::chrono::steady_clock::now() + 20s;
        while (runs < 3) REQUIRE(std::chrono::steady_clock::now() < end);
    }  // stopped under the third
    TaskQueue queue(folder.path() / "tasks", runner, *events);
    Problems problems;
    queue.load(problems);
    CHECK(problems.list().empty());
    CHECK(queue.report(done)->find("\"version\":{\"digest\":\"d\"}") != std::string::npos);
    CHECK(queue.report(failed)->find("it is \\\"broken\\\"") != std::string::npos);
    CHECK(state_of(queue, stuck) == "running");
    let_go = true;
    queue.start();
    await_state(queue, stuck, "done");
    REQUIRE(queue.remove(stuck));
    CHECK(state_of(queue, stuck) == "none");
}

TEST_CASE("a gc that a restart interrupted is not run again, other tasks are") {
    TemporaryFolder folder;
    auto events = EventLog::open(folder.path() / "events");
    const std::string gc = random_uuid();
    const std::string verify = random_uuid();
    const auto runner = [](const TaskRequest&, store::Progress&) -> Result<std::string> {
        return std::string("\"gc\":{}");
    };
    {
        TaskQueue queue(folder.path() / "tasks", runner, *events);
        REQUIRE(queue.add({gc, "gc", {{"mark", "of another process"}}}));
        REQUIRE(queue.add({verify, "verify", {}}));
    }  // never started
    TaskQueue queue(folder.path() / "tasks", runner, *events);
    Problems problems;
    queue.load(problems);
    CHECK(problems.list().empty());
    CHECK(state_of(queue, gc) == "none");
    CHECK(state_of(queue, verify) == "running");
    queue.start();
    REQUIRE(queue.add({gc, "gc", {{"mark", "of this one"}}}));
    await_state(queue, gc, "done");
}

TEST_CASE("what tasks are about is told, with what was so when they began") {
    TemporaryFolder folder;
    auto events = EventLog::open(folder.path() / "events");
    std::atomic<std::uint64_t> stamp{7};
    std::atomic<bool> let_go{false};
    TaskQueue queue(
        folder.path() / "tasks",
        [&](const TaskRequest& request, store::Progress& progress) -> Result<std::string> {
            while (request.kind == "save" && !let_go && !progress.cancel)
                std::this_thread::sleep_for(1ms);
            return std::string("\"version\":{\"digest\":\"d\"}");
        },
        *events, 1, [&] { return stamp.load(); });
    const auto seen = [&] {
        std::map<std::string, std::string> all;
        queue.for_each([&](const TaskQueue::View& task) {
            all[task.request.kind] = task.running ? std::to_string(task.stamp)
                                     : task.ended ? task.result
                                                  : "waits";
        });
        return all;
    };
    using Seen = std::map<std::string, std::string>;
    const std::string import = random_uuid(), save = random_uuid();
    REQUIRE(queue.add({save, "save", {}}));
    REQUIRE(queue.add({import, "import", {}}));
    CHECK(seen() == Seen{{"save", "waits"}, {"import", "waits"}});
    queue.start();
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (seen().at("save") == "waits") REQUIRE(std::chrono::steady_clock::now() < end);
    stamp = 8;
    CHECK(seen() == Seen{{"save", "7"}, {"import", "waits"}});
    let_go = true;
    await_state(queue, import, "done");
    CHECK(seen().at("save") == "\"version\":{\"digest\":\"d\"}");
}

TEST_CASE("a task is cancelled whether it runs or waits") {
    TemporaryFolder folder;
    auto events = EventLog::open(folder.path() / "events");
    TaskQueue queue(
        folder.path() / "tasks",
        [](const TaskRequest&, store::Progress& progress) -> Result<std::string> {
            while (!progress.cancel) std::this_thread::sleep_for(1ms);
            return failure(ErrorKind::cancelled, "told to");
        },
        *events, 1);
    const std::string running = random_uuid();
    const std::string waiting = random_uuid();
    REQUIRE(queue.add({running, "verify", {}}));
    REQUIRE(queue.add({waiting, "verify", {}}));
    queue.start();
    REQUIRE(queue.remove(waiting));
    CHECK(state_of(queue, waiting) == "cancelled");
    REQUIRE(queue.remove(running));
    await_state(queue, running, "cancelled");
    CHECK(queue.reports().size() == 2);
}

TEST_CASE("booting machines are told an address that they can reach") {
    CHECK(portal_for({"10.0.0.1:3260"}, "", "") == "10.0.0.1:3260");
    CHECK(portal_for({"10.0.0.1:3260"}, "192.0.2.1:3261", "") == "192.0.2.1:3261");
    CHECK(portal_for({"0.0.0.0:3260"}, "", "127.0.0.1") == "127.0.0.1:3260");
    CHECK(portal_for({}, "", "").empty());
    CHECK(portal_for({"[fd00::1]:3260"}, "", "") == "[fd00::1]:3260");
    CHECK(portal_for({"[::]:3260"}, "", "::1") == "[::1]:3260");
    // Each client is told of a portal that it can speak to, where there is one.
    const std::vector<std::string> both{"[::]:3260", "127.0.0.9:3261"};
    CHECK(portal_for(both, "", "127.0.0.1") == "127.0.0.9:3261");
    CHECK(portal_for(both, "", "::1") == "[::1]:3260");
    CHECK(portal_for({"10.0.0.1:3260"}, "", "fd00::7") == "10.0.0.1:3260");
    CHECK(portal_for(both, "", "no address").ends_with("]:3260"));
    const std::string chosen = portal_for({"0.0.0.0:3260"}, "", "");
    CHECK(chosen.ends_with(":3260"));
    CHECK_FALSE(chosen.starts_with("0.0.0.0"));
}

TEST_CASE("an operation's refusal becomes a problem with its own type and what blocks it") {
    const http::Response made = respond(
        OperationError{{ErrorKind::conflict, "used by 1 link", 0}, "version-in-use", {"x"}});
    CHECK(made.status == 409);
    CHECK(made.body ==
          "{\"type\":\"version-in-use\",\"title\":\"Version in use\",\"status\":409,"
          "\"detail\":\"used by 1 link\",\"links\":[\"x\"]}");
}

TEST_CASE("a tasks file that cannot be understood is set aside, and the queue works") {
    const std::string good = R"({"format":1,"tasks":[]})";
    const std::pair<std::string, std::string> cases[] = {
        {"", "it is empty"},
        {"{", "unexpected"},
        {good.substr(0, 20), ""},
        {std::string(4096, '\0'), ""},
        {R"({"format":2,"tasks":[]})", "newer than this program knows (1)"},
        {R"({"format":1,"tasks":[7]})", "a task is no object"},
    };
    for (const auto& [content, why] : cases) {
        TemporaryFolder folder;
        const auto file = folder.path() / "tasks.json";
        REQUIRE(replace_file(file, content));
        auto events = EventLog::open(folder.path() / "events");
        Problems problems;
        {
            TaskQueue queue(
                file, [](const TaskRequest&, store::Progress&) { return Result<std::string>(""); },
                *events);
            queue.load(problems);
            const auto told = problems.list();
            REQUIRE(told.size() == 1);
            INFO(told[0].message);
            CHECK(told[0].message.find(file.string()) != std::string::npos);
            if (why != "unexpected") CHECK(told[0].message.find(why) != std::string::npos);
            queue.start();
            const std::string id = random_uuid();
            REQUIRE(queue.add({id, "verify", {}}));
            await_state(queue, id, "done");
        }
        std::vector<fs::path> aside;
        for (const auto& entry : fs::directory_iterator(folder.path()))
            if (entry.path().filename().string().starts_with("tasks.json.damaged-"))
                aside.push_back(entry.path());
        REQUIRE(aside.size() == 1);
        CHECK(*read_file(aside[0], 1 << 20) == content);
        CHECK(read_file(file, 1 << 20)->find("verify") != std::string::npos);
    }
}
