#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <mutex>
#include <thread>

#include "common/child.hpp"

using namespace goldlink;
using namespace std::chrono_literals;

TEST_CASE("a child's output comes line by line, and its end is told") {
    std::mutex mutex;
    std::vector<std::string> lines;
    ChildOptions options;
    options.argv = {"sh", "-c",
                    "echo one; printf 'two\\rthree\\n' >&2; echo $GOLDLINK_X; pwd; exit 3"};
    options.extra_environment = {"GOLDLINK_X=four"};
    options.working_directory = "/";
    options.on_line = [&](std::string_view line) {
        const std::lock_guard lock(mutex);
        lines.emplace_back(line);
    };
    auto child = Child::spawn(std::move(options));
    REQUIRE(child);
    const auto ended = child->wait(20s);
    REQUIRE(ended);
    CHECK(ended->code == 3);
    CHECK(ended->describe() == "exited with code 3");
    CHECK(lines == std::vector<std::string>{"one", "two", "three", "four", "/"});
    CHECK_FALSE(child->running());
}

TEST_CASE("stop asks first, then kills, grandchildren that hold the pipe included") {
    ChildOptions options;
    options.argv = {"sh", "-c", "trap '' TERM; sleep 600 & echo up; while :; do sleep 600; done"};
    std::mutex mutex;
    bool up = false;
    options.on_line = [&](std::string_view) {
        const std::lock_guard lock(mutex);
        up = true;
    };
    auto child = Child::spawn(std::move(options));
    REQUIRE(child);
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    for (bool seen = false; !seen && std::chrono::steady_clock::now() < deadline;) {
        const std::lock_guard lock(mutex);
        seen = up;
    }
    CHECK(child->running());
    CHECK_FALSE(child->wait(1ms));
    const auto ended = child->stop(50ms);
    CHECK(ended.signal == SIGKILL);
    CHECK(ended.describe() == "was killed by signal 9 (Killed)");
}

TEST_CASE("a child outlives the thread that started it") {
    std::optional<Child> child;
    std::thread([&child] { child = *Child::spawn({.argv = {"sleep", "600"}}); }).join();
    CHECK_FALSE(child->wait(100ms));
    CHECK(child->stop(5s).signal == SIGTERM);
}

TEST_CASE("what cannot be started says why") {
    CHECK(Child::spawn({.argv = {"goldlink-no-such-program"}}).error().kind ==
          ErrorKind::not_found);
    CHECK(Child::spawn({.argv = {"/etc/passwd"}}).error().kind == ErrorKind::denied);
    CHECK(Child::spawn({.argv = {"true"}, .working_directory = "/no/such"}).error().kind ==
          ErrorKind::not_found);
}

TEST_CASE("a command's output is returned, its failure quotes it, its time is bounded") {
    CHECK(*run_command({"echo", "hello"}, 20s) == "hello\n");
    const auto failed = run_command({"sh", "-c", "echo it broke; exit 7"}, 20s);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().message.find("exited with code 7: it broke") != std::string::npos);
    CHECK(run_command({"sleep", "600"}, 50ms).error().kind == ErrorKind::timeout);
    CHECK(run_command({"sh", "-c", "yes | head -c 100000"}, 20s, 1000)->size() <= 1000);
}

TEST_CASE("a child starts with default signals, however its parent has them") {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    auto child = Child::spawn({.argv = {"sleep", "600"}});
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    REQUIRE(child);
    child->send_signal(SIGINT);
    const auto ended = child->wait(20s);
    REQUIRE(ended);
    CHECK(ended->signal == SIGINT);
}
