#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>

#include "common/child.hpp"
#include "common/file.hpp"
#include "manager/cli/up/processes.hpp"
#include "manager/cli/up/state_dir.hpp"
#include "manager/cli/up/supervisor.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
using namespace goldlink::up;
using std::chrono::milliseconds;

namespace {

Child sleeper(const std::filesystem::path& folder) {
    ChildOptions options;
    options.argv = {"sleep", "600"};
    options.working_directory = folder;
    auto child = Child::spawn(std::move(options));
    REQUIRE(child);
    return std::move(*child);
}

}  // namespace

TEST_CASE("a process is known by pid and start, and ended") {
    const TemporaryFolder folder;
    auto child = sleeper(folder.path());
    const ProcessId id{child.pid(), start_ticks(child.pid())};
    CHECK(id.start_ticks != 0);
    CHECK(alive(id));
    // The same pid with another start is a stranger, and left alone.
    const ProcessId stranger{id.pid, id.start_ticks + 1};
    CHECK_FALSE(alive(stranger));
    CHECK(end_process(stranger, SIGKILL, milliseconds(10)));
    CHECK(alive(id));

    const auto found = processes_in(folder.path());
    REQUIRE(found.size() == 1);
    CHECK(found[0].pid == id.pid);
    // Dead although nobody reaped it yet: a corpse counts as gone.
    CHECK(end_process(id, SIGTERM, milliseconds(5000)));
    CHECK(start_ticks(id.pid) == 0);
    CHECK(processes_in(folder.path()).empty());
    CHECK(child.wait(milliseconds(5000))->signal == SIGTERM);
}

TEST_CASE("a process that ignores the signal is killed") {
    const TemporaryFolder folder;
    std::atomic<bool> ignores{false};
    ChildOptions options;
    options.argv = {"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"};
    options.on_line = [&ignores](std::string_view) { ignores = true; };
    auto child = Child::spawn(std::move(options));
    REQUIRE(child);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!ignores && std::chrono::steady_clock::now() < end) ::usleep(1000);
    REQUIRE(ignores);
    CHECK(end_process({child->pid(), start_ticks(child->pid())}, SIGTERM, milliseconds(100)));
    CHECK(child->wait(milliseconds(5000))->signal == SIGKILL);
}

TEST_CASE("records of children survive, and damaged ones are left out") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "children";
    CHECK(read_child_records(path).empty());
    REQUIRE(
        write_child_records(path, {{"goldlink-target", {4711, 99}}, {"postgres", {4712, 100}}}));
    auto records = read_child_records(path);
    REQUIRE(records.size() == 2);
    CHECK(records[1].name == "postgres");
    CHECK(records[1].id.pid == 4712);
    CHECK(records[1].id.start_ticks == 100);
    REQUIRE(replace_file(path, "x\ninit 1 5\na -3 7\nb 7\n\ngoldlink-pxe 5 6 trailing\n"));
    records = read_child_records(path);
    REQUIRE(records.size() == 1);
    CHECK(records[0].name == "goldlink-pxe");
}

TEST_CASE("one state folder serves one up at a time") {
    const TemporaryFolder folder;
    const auto first = StateDir::open(folder.path() / "state");
    REQUIRE(first);
    CHECK(std::filesystem::is_directory(first->path() / "target"));
    const auto second = StateDir::open(folder.path() / "state/");
    REQUIRE_FALSE(second);
    CHECK(second.error().kind == ErrorKind::conflict);
    CHECK(second.error().message.find(fmt::format("(pid {})", ::getpid())) != std::string::npos);
}

TEST_CASE("a state folder that cannot work is refused with a reason") {
    const TemporaryFolder folder;
    const auto deep = StateDir::open(folder.path() / std::string(90, 'x'));
    REQUIRE_FALSE(deep);
    CHECK(deep.error().message.find("too long for unix sockets") != std::string::npos);
    REQUIRE(replace_file(folder.path() / "file", "x"));
    const auto file = StateDir::open(folder.path() / "file");
    REQUIRE_FALSE(file);
    CHECK(file.error().message.find("--state-dir") != std::string::npos);
}

TEST_CASE("the pause between restarts doubles up to ten seconds") {
    CHECK(restart_pause(1) == milliseconds(200));
    CHECK(restart_pause(2) == milliseconds(400));
    CHECK(restart_pause(5) == milliseconds(3200));
    CHECK(restart_pause(7) == milliseconds(10'000));
    CHECK(restart_pause(4'000'000'000) == milliseconds(10'000));
}

TEST_CASE("a service that keeps ending during the first start is given up, with its last words") {
    Service service;
    service.name = "broken";
    service.child.argv = {"sh", "-c", "echo no such option; exit 2"};
    std::vector<Service> services;
    services.push_back(std::move(service));
    Supervisor supervisor(std::move(services), [](const std::vector<ChildRecord>&) {});
    const auto outcome = supervisor.run([]() -> Result<> { return {}; });
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().message.find("broken does not start") != std::string::npos);
    CHECK(outcome.error().message.find("exited with code 2") != std::string::npos);
    CHECK(outcome.error().message.find("no such option") != std::string::npos);
}

TEST_CASE("services start when those they need are ready, and stop in reverse order") {
    const TemporaryFolder folder;
    const auto log = (folder.path() / "log").string();
    const auto service = [&](const std::string& name, std::vector<std::string> needs) {
        Service made;
        made.name = name;
        made.needs = std::move(needs);
        made.child.argv = {"sh", "-c",
                           "trap 'echo stop " + name + " >> " + log +
                               "; exit 0' TERM; echo start " + name + " >> " + log +
                               "; echo ready; while :; do sleep 0.05; done"};
        return made;
    };
    std::vector<Service> services;
    services.push_back(service("one", {}));
    services.push_back(service("two", {"one"}));
    services.push_back(service("three", {"one", "two"}));
    std::size_t most = 0;
    std::size_t last = 99;
    {
        Supervisor supervisor(std::move(services), [&](const std::vector<ChildRecord>& records) {
            most = std::max(most, records.size());
            last = records.size();
        });
        // Its error ends the run, as a signal would.
        const auto outcome =
            supervisor.run([]() -> Result<> { return failure(ErrorKind::cancelled, "seen"); });
        REQUIRE_FALSE(outcome);
        CHECK(outcome.error().message == "seen");
    }
    CHECK(most == 3);
    CHECK(last == 0);
    CHECK(*read_file(log, 4096) ==
          "start one\nstart two\nstart three\nstop three\nstop two\nstop one\n");
}
