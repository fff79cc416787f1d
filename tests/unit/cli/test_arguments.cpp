// The command line as a whole: which usage is refused with 2, and what is not reached by it.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <vector>

#include "manager/cli/session.hpp"

namespace {

int run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "goldlink");
    return goldlink::cli::run(static_cast<int>(arguments.size()), arguments.data());
}

// Port 9 of loopback: nothing listens there, so a verb that is reached fails with 1.
constexpr const char* kNowhere = "http://127.0.0.1:9";

}  // namespace

TEST_CASE("wrong usage ends with 2") {
    const std::vector<std::vector<const char*>> wrong{
        {},
        {"nonsense"},
        {"image"},
        {"image", "frobnicate"},
        {"image", "import", "win11"},
        {"image", "import", "win11@3", "/dev/null"},
        {"image", "import", "win11", "/dev/null", "--format", "vdi"},
        {"image", "create", "blank"},
        {"image", "create", "blank", "--size", "much"},
        {"image", "create", "blank", "--size", "4K"},
        {"image", "create", "blank@1", "--size", "4G"},
        {"image", "show", "win11@x"},
        {"image", "rollback", "win11", "--to", "0"},
        {"client", "add", "PC-001"},
        {"client", "add", "PC-001", "--mac", "52:54:00"},
        {"client", "add", "PC-001", "--mac", "01:00:5e:00:00:01"},
        {"client", "ls", "--state", "asleep"},
        {"client", "set", "PC-001", "--group", "a", "--no-group"},
        {"link", "create", "--image", "win11"},
        {"link", "create", "--image", "win11", "--client", "PC-001", "--lease", "30m"},
        {"link", "create", "--client", "PC-001"},
        {"link", "create", "--lease", "30", "--image", "win11"},
        {"link", "create", "--lease", "30m", "--image", "win11", "--policy", "sometimes"},
        {"link", "create", "--lease", "30m", "--image", "win11", "--disk", "0=games"},
        {"link", "create", "--lease", "30m", "--image", "win11", "--disk", "games"},
        {"link", "reset", "3f0c", "--lun", "256"},
        {"link", "set", "3f0c"},
        {"link", "set", "3f0c", "--install", "--no-install"},
        {"token", "create", "me"},
        {"token", "create", "me", "--role", "god"},
        {"events", "--after", "-1"},
        {"up", "--pxe", "proxy"},
        {"up", "--pxe", "maybe"},
        {"up", "--listen", "8080"},
        {"up", "--portal", "example.org:3260"},
        {"up", "--dhcp-range", "10.0.0.10-10.0.0.20"},
        {"up", "--pxe", "dhcp", "--interface", "lo"},
        {"up", "--dhcp-dns", "10.0.0.1"},
        {"up", "--ram-budget", "much"},
        {"status", "--no-such-option"},
    };
    for (const auto& arguments : wrong) {
        std::string shown;
        for (const char* argument : arguments) shown += std::string(argument) + " ";
        INFO("goldlink " << shown);
        CHECK(run(arguments) == 2);
    }
}

TEST_CASE("right usage reaches the server, and ends with 1 when there is none") {
    const std::vector<std::vector<const char*>> right{
        {"image", "ls"},
        {"image", "show", "win11:test", "--json"},
        {"image", "verify", "win11@7"},
        {"image", "promote", "win11", "--channel", "test"},
        {"client", "add", "PC-001", "--mac", "52-54-00-12-34-56", "--mac", "525400123457"},
        {"client", "copy", "PC-001", "PC-002", "--mac", "52:54:00:12:34:57"},
        {"client", "wake", "PC-001", "--json"},
        {"group", "add", "lab", "--image", "win11", "--names", "LAB-{n:03}"},
        {"link", "create", "--lease", "30m", "--image", "win11@7", "--json"},
        {"link", "create", "--client", "PC-001", "--image", "win11", "--policy", "keep"},
        {"link", "reset", "x", "--force"},
        {"task", "wait", "x"},
        {"token", "create", "me", "--role", "ci", "--expires", "12h"},
        {"status"},
        {"events"},
    };
    for (auto arguments : right) {
        std::string shown;
        for (const char* argument : arguments) shown += std::string(argument) + " ";
        INFO("goldlink " << shown);
        arguments.insert(arguments.end(), {"--url", kNowhere});
        CHECK(run(arguments) == 1);
    }
}

TEST_CASE("files that are not there, or no files, are refused before anything is sent") {
    CHECK(run({"image", "import", "win11", "/nonexistent/disk.raw", "--url", kNowhere}) == 1);
    CHECK(run({"image", "import", "win11", "/dev/null", "--url", kNowhere}) == 1);
    CHECK(run({"image", "import", "win11", "/tmp", "--url", kNowhere}) == 1);
    CHECK(run({"client", "import", "/nonexistent/room.csv", "--url", kNowhere}) == 1);
    CHECK(run({"client", "ls", "--token-file", "/nonexistent/token", "--url", kNowhere}) == 1);
}

TEST_CASE("help and version end with 0") {
    CHECK(run({"--help"}) == 0);
    CHECK(run({"--version"}) == 0);
    CHECK(run({"up", "--help"}) == 0);
    CHECK(run({"link", "create", "--help"}) == 0);
}
