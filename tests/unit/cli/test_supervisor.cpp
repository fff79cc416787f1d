#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <map>

#include "common/file.hpp"
#include "manager/cli/up/supervisor.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
using namespace goldlink::up;
using std::chrono::milliseconds;

namespace {

const Failure kSeen = failure(ErrorKind::cancelled, "seen");

Service service(const std::string& name, const std::string& script,
                std::vector<std::string> needs = {}) {
    Service made;
    made.name = name;
    made.needs = std::move(needs);
    made.child.argv = {"sh", "-c", script};
    return made;
}

const std::string kServes = "echo ready; while :; do sleep 0.05; done";

SupervisorHooks no_hooks() {
    SupervisorHooks hooks;
    hooks.children_changed = [](const std::vector<ChildRecord>&) {};
    return hooks;
}

// Ends run() from one of its hooks, as Ctrl-C does.
struct BlockedSignals {
    BlockedSignals() { block_stop_signals(); }
    static void stop() { ::kill(::getpid(), SIGTERM); }
};

}  // namespace

TEST_CASE("the pause between restarts doubles up to what suits how it ended") {
    CHECK(restart_pause(1, Ended::starting) == milliseconds(200));
    CHECK(restart_pause(2, Ended::starting) == milliseconds(400));
    CHECK(restart_pause(5, Ended::starting) == milliseconds(3200));
    CHECK(restart_pause(4'000'000'000, Ended::starting) == milliseconds(10'000));
    CHECK(restart_pause(1, Ended::killed) == milliseconds(200));
    CHECK(restart_pause(4'000'000'000, Ended::killed) == milliseconds(1000));
    CHECK(restart_pause(4'000'000'000, Ended::serving) == milliseconds(2000));
}

TEST_CASE("in a first start a service that keeps ending is given up, with its last words") {
    std::vector<Service> services;
    services.push_back(service("broken", "echo no such option; exit 2"));
    Supervisor supervisor(std::move(services), no_hooks(), true);
    const auto outcome = supervisor.run();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().message.find("broken does not start") != std::string::npos);
    CHECK(outcome.error().message.find("exited with code 2") != std::string::npos);
    CHECK(outcome.error().message.find("no such option") != std::string::npos);
}

TEST_CASE("services start when those they need are ready, and stop in reverse order") {
    const TemporaryFolder folder;
    const auto log = (folder.path() / "log").string();
    const auto noting = [&](const std::string& name, std::vector<std::string> needs) {
        return service(name,
                       "trap 'echo stop " + name + " >> " + log + "; exit 0' TERM; echo start " +
                           name + " >> " + log + "; " + kServes,
                       std::move(needs));
    };
    std::vector<Service> services;
    services.push_back(noting("one", {}));
    services.push_back(noting("two", {"one"}));
    services.push_back(noting("three", {"one", "two"}));
    std::size_t most = 0;
    std::size_t last = 99;
    bool stopping = false;
    {
        SupervisorHooks hooks;
        hooks.children_changed = [&](const std::vector<ChildRecord>& records) {
            most = std::max(most, records.size());
            last = records.size();
        };
        hooks.all_ready = []() -> Result<> { return kSeen; };  // ends the run, as a signal would
        hooks.stopping = [&] { stopping = last == 3; };
        Supervisor supervisor(std::move(services), std::move(hooks), true);
        const auto outcome = supervisor.run();
        REQUIRE_FALSE(outcome);
        CHECK(outcome.error().message == "seen");
    }
    CHECK(most == 3);
    CHECK(last == 0);
    CHECK(stopping);
    CHECK(*read_file(log, 4096) ==
          "start one\nstart two\nstart three\nstop three\nstop two\nstop one\n");
}

// The database of a server that has served before does not start, or cannot even be prepared.
TEST_CASE("what does not start keeps nobody else from serving, and is tried again") {
    const BlockedSignals signals;
    const bool unprepared = GENERATE(false, true);
    const TemporaryFolder folder;
    std::vector<Service> services;
    services.push_back(service("database", "test -e " + (folder.path() / "mended").string() +
                                               " || { echo PANIC: no log; exit 1; }; " + kServes));
    if (unprepared)
        services.back().prepare =
            [&, child = services.back().child](const std::atomic<bool>&) -> Result<ChildOptions> {
            if (std::filesystem::exists(folder.path() / "mended")) return child;
            return failure(ErrorKind::not_found, "its programs are not here\n  to do: install");
        };
    // Serves once it was told that nobody is served yet.
    services.push_back(service("target", "until test -e " + (folder.path() / "told").string() +
                                             "; do sleep 0.05; done; " + kServes));
    services.back().for_clients = true;
    services.push_back(service("manager", kServes, {"database", "target"}));
    std::vector<std::pair<bool, std::string>> told;
    SupervisorHooks hooks = no_hooks();
    bool all_ready = false;
    hooks.changed = [&](bool served, const std::string& text) {
        told.emplace_back(served, text);
        REQUIRE(replace_file(folder.path() / "told", ""));
        // The manager does not wait for what has failed.
        if (served && text.find("manager") == std::string::npos)
            REQUIRE(replace_file(folder.path() / "mended", ""));
    };
    hooks.all_ready = [&]() -> Result<> {
        all_ready = true;
        BlockedSignals::stop();
        return {};
    };
    Supervisor supervisor(std::move(services), std::move(hooks));
    REQUIRE(supervisor.run());
    CHECK(all_ready);
    REQUIRE_FALSE(told.empty());
    CHECK_FALSE(told.front().first);
    CHECK(told.back() == std::pair(true, std::string("all parts serve")));
    const std::string why = unprepared ? "its programs are not here" : "exited with code 1";
    const auto said = "clients are served; database " + why + ", it is tried again";
    CHECK(std::find(told.begin(), told.end(), std::pair(true, said)) != told.end());
}

TEST_CASE("a child that is killed again and again is soon back each time") {
    const BlockedSignals signals;
    std::vector<Service> services;
    services.push_back(service("target", kServes));
    SupervisorHooks hooks;
    pid_t living = 0;
    int starts = 0;
    hooks.children_changed = [&](const std::vector<ChildRecord>& records) {
        living = records.empty() ? 0 : records[0].id.pid;
        starts += living == 0 ? 0 : 1;
    };
    hooks.changed = [&](bool, const std::string& text) {
        if (text != "all parts serve") return;
        if (starts < 8)
            ::kill(living, SIGKILL);
        else
            BlockedSignals::stop();
    };
    const auto begin = std::chrono::steady_clock::now();
    Supervisor supervisor(std::move(services), std::move(hooks));
    REQUIRE(supervisor.run());
    CHECK(starts == 8);
    // Seven pauses of at most a second; doubling without an end they would be 25 s.
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("a child that hangs is killed and started again, one that answers is left alone") {
    const BlockedSignals signals;
    std::vector<Service> services;
    std::atomic<int> asked{0};
    std::atomic<bool> hangs{true};
    services.push_back(service("good", kServes));
    services.back().ask = [&](milliseconds) -> Result<> {
        ++asked;
        return {};
    };
    services.push_back(service("hung", kServes));
    services.back().ask = [&](milliseconds) -> Result<> {
        if (hangs) return failure(ErrorKind::timeout, "no answer at all");
        return {};
    };
    SupervisorHooks hooks;
    std::map<std::string, std::vector<pid_t>> pids;
    hooks.children_changed = [&](const std::vector<ChildRecord>& records) {
        for (const auto& record : records)
            if (auto& known = pids[record.name]; known.empty() || known.back() != record.id.pid)
                known.push_back(record.id.pid);
    };
    std::vector<std::string> told;
    hooks.changed = [&](bool, const std::string& text) {
        told.push_back(text);
        if (text.find("hung hung and was killed") != std::string::npos) hangs = false;
        if (text == "all parts serve" && !hangs) BlockedSignals::stop();
    };
    AnswerLimits limits;
    limits.ask_every = limits.ask_again = milliseconds(5);
    limits.hung_after = milliseconds(50);
    Supervisor supervisor(std::move(services), std::move(hooks), false, limits);
    REQUIRE(supervisor.run());
    CHECK(asked > 0);
    CHECK(pids["good"].size() == 1);
    CHECK(pids["hung"].size() == 2);
}

TEST_CASE("a stop ends what is being prepared") {
    const BlockedSignals signals;
    std::vector<Service> services;
    services.push_back(service("database", kServes));
    services.back().prepare = [](const std::atomic<bool>& stop) -> Result<ChildOptions> {
        BlockedSignals::stop();
        while (!stop) ::usleep(1000);
        return failure(ErrorKind::cancelled, "stopped");
    };
    Supervisor supervisor(std::move(services), no_hooks());
    CHECK(supervisor.run());
}
