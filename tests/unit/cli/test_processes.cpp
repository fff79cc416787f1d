#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "common/child.hpp"
#include "common/file.hpp"
#include "manager/cli/up/processes.hpp"
#include "manager/cli/up/state_dir.hpp"
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

TEST_CASE("a process that is about to end by itself is not killed") {
    ChildOptions options;
    options.argv = {"sh", "-c", "sleep 0.2; exit 7"};
    auto child = Child::spawn(std::move(options));
    REQUIRE(child);
    CHECK(end_process({child->pid(), start_ticks(child->pid())}, 0, std::chrono::minutes(1)));
    CHECK(child->wait(milliseconds(5000))->code == 7);
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

TEST_CASE("a state folder that has served before is known as such") {
    for (const char* left : {"postgres", "admin.token", "target/store", "target/links.json"}) {
        const TemporaryFolder folder;
        CHECK_FALSE(StateDir::open(folder.path() / "state")->used());
        CHECK_FALSE(StateDir::open(folder.path() / "state")->used());
        std::filesystem::create_directories(folder.path() / "state" / left);
        CHECK(StateDir::open(folder.path() / "state")->used());
    }
}

// The kernel shows a process as a zombie from when its first thread has ended; its files are closed
// when the last one has.
TEST_CASE("a process whose first thread has ended lives while another thread does") {
    int pair[2];
    REQUIRE(::pipe(pair) == 0);
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        ::close(pair[1]);
        std::thread([read_end = pair[0]] {
            char byte = 0;
            [[maybe_unused]] const auto n = ::read(read_end, &byte, 1);
            ::_exit(0);
        }).detach();
        ::syscall(SYS_exit, 0);  // of this thread alone
    }
    ::close(pair[0]);
    const auto state = [pid] {
        const auto stat = *read_file(fmt::format("/proc/{}/stat", pid), 4096);
        return stat[stat.rfind(')') + 2];
    };
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (state() != 'Z' && std::chrono::steady_clock::now() < end) ::usleep(1000);
    REQUIRE(state() == 'Z');
    CHECK(start_ticks(pid) != 0);
    CHECK(parent_of(pid) == ::getpid());
    ::close(pair[1]);
    while (start_ticks(pid) != 0 && std::chrono::steady_clock::now() < end) ::usleep(1000);
    CHECK(start_ticks(pid) == 0);
    ::waitpid(pid, nullptr, 0);
    CHECK(name_of(pid).empty());
    CHECK_FALSE(name_of(::getpid()).empty());
}
