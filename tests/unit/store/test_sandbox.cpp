// What a child in the sandbox can and cannot do, tried out by real programs.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

#include "common/child.hpp"
#include "store_fixture.hpp"
#include "target/store/sandbox.hpp"

using namespace goldlink;
using namespace goldlink::store;
using namespace goldlink::store::test;

namespace {

struct Confined {
    TemporaryFolder folder;
    std::filesystem::path input = folder / "input", output = folder / "output",
                          secret = folder / "secret";

    Confined() {
        std::ofstream(input) << "the input\n";
        std::ofstream(secret) << "the secret\n";
        std::ofstream(output) << "";
        // As in a spool: nobody but its owner may enter.
        std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
        std::filesystem::permissions(input, std::filesystem::perms::owner_read);
    }
    // Exit code of a shell command, and what it printed.
    std::pair<int, std::string> run(const std::string& command,
                                    SandboxLimits limits = {4ull << 30, 10, 1 << 20}) {
        auto sandbox = Sandbox::make({input}, output, limits);
        REQUIRE(sandbox);
        std::string printed;
        ChildOptions options;
        options.argv = {"sh", "-c", command};
        options.before_exec = (*sandbox)->enter();
        options.on_line = [&printed](std::string_view line) {
            printed.append(line).push_back('\n');
        };
        ExitStatus status;
        {
            auto child = Child::spawn(std::move(options));
            REQUIRE(child);
            const auto ended = child->wait(std::chrono::seconds(20));
            REQUIRE(ended);
            status = *ended;
        }
        return {status.code, printed};
    }
    static bool has_landlock() { return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1) > 0; }
};

}  // namespace

TEST_CASE("a sandboxed child reads its input and writes its output") {
    Confined confined;
    const auto [code, printed] = confined.run("cat " + confined.input.string() +
                                              " && echo done > " + confined.output.string());
    CHECK(code == 0);
    CHECK(printed == "the input\n");
    CHECK(read_whole(confined.output).size() == 5);
    struct stat status {};
    REQUIRE(::stat(confined.output.c_str(), &status) == 0);
    CHECK(status.st_uid == ::geteuid());  // taken back
}

TEST_CASE("a sandboxed child writes no other file and reads none by a stray reference") {
    Confined confined;
    CHECK(confined.run("echo x > " + (confined.folder / "new").string()).first != 0);
    CHECK(confined.run("echo x >> " + confined.input.string()).first != 0);
    CHECK(confined.run("echo x >> " + confined.secret.string()).first != 0);
    CHECK_FALSE(std::filesystem::exists(confined.folder / "new"));
    if (Confined::has_landlock()) CHECK(confined.run("cat " + confined.secret.string()).first != 0);
}

TEST_CASE("a sandboxed child has no network and cannot become somebody else") {
    Confined confined;
    const auto tried = confined.run("python3 -c 'import socket; socket.socket()'");
    CHECK(tried.first != 0);
    CHECK_THAT(tried.second, Catch::Contains("PermissionError"));
    if (::geteuid() == 0) CHECK(confined.run("id -u").second == "65534\n");
    CHECK_THAT(confined.run("grep NoNewPrivs /proc/self/status").second, Catch::Contains("1"));
    CHECK_THAT(confined.run("grep Seccomp: /proc/self/status").second, Catch::Contains("2"));
}

TEST_CASE("a sandboxed child is bounded in output, memory and time") {
    Confined confined;
    CHECK(confined.run("head -c 2000000 /dev/zero > " + confined.output.string()).first != 0);
    CHECK(read_whole(confined.output).size() <= 1 << 20);
    CHECK(confined.run("head -c 1000 /dev/zero | tail -c 500 > /dev/null", {1 << 20, 10, 1 << 20})
              .first != 0);
    CHECK(confined.run("while :; do :; done", {4ull << 30, 1, 1 << 20}).first != 0);
}
