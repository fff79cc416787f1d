#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>

#include "common/file.hpp"
#include "common/http/live.hpp"
#include "common/http/server.hpp"
#include "manager/cli/up/answer_record.hpp"
#include "manager/cli/up/liveness.hpp"
#include "manager/cli/up/service_manager.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using goldlink::test::TemporaryFolder;
using namespace goldlink::up;
using namespace std::chrono_literals;

namespace {

struct Step {
    std::chrono::seconds at;
    char what;  // a: answered, m: missed, x: missed, but not by its own fault
    bool hung;
};

}  // namespace

TEST_CASE("a process is hung after three silences of its own and long enough") {
    const AnswerLimits limits{5s, 1s, 4s, 18s, 3};
    const std::vector<std::vector<Step>> stories = {
        // Stopped: the questions after the last answer, each waits 4 s and the next comes after 1.
        {{0s, 'a', false}, {9s, 'm', false}, {14s, 'm', false}, {19s, 'm', true}},
        // Slow, but it answers: counting begins anew.
        {{0s, 'a', false},
         {9s, 'm', false},
         {14s, 'm', false},
         {18s, 'a', false},
         {27s, 'm', false},
         {32s, 'm', false},
         {37s, 'm', true}},
        // Quick refusals are no long silence.
        {{0s, 'a', false},
         {5s, 'm', false},
         {6s, 'm', false},
         {7s, 'm', false},
         {8s, 'm', false},
         {18s, 'm', true}},
        // The machine stood still, or its disk: not the process's fault, and it starts from there.
        {{0s, 'a', false},
         {9s, 'm', false},
         {14s, 'm', false},
         {60s, 'x', false},
         {65s, 'm', false},
         {70s, 'm', false},
         {78s, 'm', true}},
        {{0s, 'a', false},
         {9s, 'x', false},
         {18s, 'x', false},
         {27s, 'x', false},
         {99s, 'x', false}},
        // An answer after all.
        {{0s, 'a', false},
         {9s, 'm', false},
         {14s, 'm', false},
         {19s, 'm', true},
         {20s, 'a', false}},
    };
    for (const auto& story : stories) {
        AnswerRecord record(limits);
        const AnswerRecord::Time start{1h};
        for (const Step& step : story) {
            if (step.what == 'a')
                record.answered(start + step.at);
            else
                record.missed(start + step.at, step.what == 'm');
            INFO(step.at.count());
            CHECK(record.hung() == step.hung);
            CHECK(record.next_in() == (step.what == 'm' ? 1s : 5s));
        }
    }
}

TEST_CASE("a thread that waits for a disk all the time is told from threads that only pass there") {
    CHECK(waited_all_the_time({{7, 100}}, {{7, 100}}));
    CHECK_FALSE(waited_all_the_time({{7, 100}}, {{7, 101}}));
    CHECK_FALSE(waited_all_the_time({{7, 100}}, {{8, 100}}));
    CHECK_FALSE(waited_all_the_time({}, {{8, 100}}));
    CHECK(waited_all_the_time({{7, 1}, {8, 5}}, {{6, 1}, {8, 5}}));
    CHECK(disk_sleepers(::getpid()).empty());
}

TEST_CASE("only a part that stands still, or silence, is no answer") {
    const TemporaryFolder folder;
    const std::string socket = "unix:" + (folder.path() / "c.sock").string();
    CHECK_FALSE(ask_control(socket, 200ms));
    std::string type;
    std::vector<http::Route> routes;
    routes.push_back({"GET", "/live", [&](http::Request&) {
                          if (type.empty()) return http::Response{};
                          return http::problem(503, type, "x", "reactor 1 did not answer");
                      }});
    http::Server server(std::move(routes));
    REQUIRE(server.listen(socket));
    CHECK(ask_control(socket, 20s));
    type = "too-many-connections";
    CHECK(ask_control(socket, 20s));
    type = http::kNotLive;
    const auto stuck = ask_control(socket, 20s);
    REQUIRE_FALSE(stuck);
    CHECK(stuck.error().message.find("reactor 1") != std::string::npos);
}

TEST_CASE("the service manager hears that we serve once, each status once, and that we live") {
    const TemporaryFolder folder;
    const std::string path = (folder.path() / "notify").string();
    const FileDescriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const auto heard = [&] {
        std::string all;
        char buffer[256];
        for (ssize_t n = 0; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
            all += std::string(buffer, static_cast<std::size_t>(n)) + "|";
        return all;
    };
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
    ::setenv("WATCHDOG_USEC", "3600000000", 1);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    ServiceManager manager;
    CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
    CHECK(std::getenv("WATCHDOG_USEC") == nullptr);
    manager.status("target is starting");
    CHECK(heard() == "STATUS=target is starting|");
    manager.serves("clients are served; postgres is starting");
    CHECK(heard() == "STATUS=clients are served; postgres is starting|READY=1|");
    manager.serves("clients are served; postgres is starting");
    manager.status("all parts serve");
    CHECK(heard() == "STATUS=all parts serve|");
    manager.lives();
    manager.lives();
    CHECK(heard() == "WATCHDOG=1|");
    manager.stopping();
    CHECK(heard() == "STOPPING=1\nSTATUS=stopping|");

    ServiceManager unwatched;  // the variables are gone: nobody listens
    unwatched.serves("x");
    unwatched.lives();
    CHECK(heard().empty());
}
