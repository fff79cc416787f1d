#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "common/file.hpp"
#include "manager/cli/up/network.hpp"
#include "manager/cli/up/up.hpp"

using namespace goldlink;
using namespace goldlink::up;

TEST_CASE("endpoints are literal addresses with a port") {
    const auto v4 = parse_endpoint("10.0.0.1:3260");
    REQUIRE(v4);
    CHECK(v4->host == "10.0.0.1");
    CHECK(v4->port == 3260);
    const auto v6 = parse_endpoint("[fd00::1]:80");
    REQUIRE(v6);
    CHECK(v6->host == "fd00::1");
    CHECK(v6->to_string() == "[fd00::1]:80");
    CHECK(parse_endpoint("localhost:1")->to_string() == "127.0.0.1:1");
    CHECK(parse_endpoint("[::]:8080")->any_host());
    for (const char* bad :
         {"", "8080", ":8080", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536",
          "fd00::1:80", "example.org:80", "10.0.0.1:-1", "[10.0.0.1:80"})
        CHECK_FALSE(parse_endpoint(bad));
}

TEST_CASE("a port that is taken is refused, and the one that holds it is named") {
    const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);

    const auto refused = claim_endpoint({"127.0.0.1", ntohs(address.sin_port)});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::conflict);
    CHECK(refused.error().message.find("in use by test_cli (pid " + std::to_string(::getpid()) +
                                       ")") != std::string::npos);
}

TEST_CASE("port 0 becomes a free port, and a stranger's address is refused") {
    const auto claimed = claim_endpoint({"127.0.0.1", 0});
    REQUIRE(claimed);
    CHECK(claimed->port != 0);
    CHECK(claim_endpoint(*claimed));  // it was not kept
    const auto foreign = claim_endpoint({"192.0.2.77", 0});
    REQUIRE_FALSE(foreign);
    CHECK(foreign.error().kind == ErrorKind::invalid);
}

TEST_CASE("portals are concrete: 0.0.0.0 becomes this machine's address, then loopback") {
    const auto portals = concrete_portals({}, "");
    REQUIRE(portals);
    REQUIRE_FALSE(portals->empty());
    CHECK(portals->front() == machine_address() + ":3260");
    CHECK(portals->back() == "127.0.0.1:3260");
    CHECK(concrete_portals({"0.0.0.0:9"}, "lo") == std::vector<std::string>{"127.0.0.1:9"});
    CHECK(concrete_portals({"10.0.0.1:1", "10.0.1.1:1", "10.0.0.1:1"}, "") ==
          std::vector<std::string>{"10.0.0.1:1", "10.0.1.1:1"});
    CHECK(concrete_portals({"[fd00::1]:9"}, "") == std::vector<std::string>{"[fd00::1]:9"});
    CHECK(concrete_portals({"[::]:9"}, "lo") == std::vector<std::string>{"[::1]:9"});
    const auto v6 = concrete_portals({"[::]:9"}, "");
    REQUIRE(v6);
    CHECK(v6->front() == Endpoint{machine_address(Family::v6), 9}.to_string());
    CHECK(v6->back() == "[::1]:9");
    const auto missing = concrete_portals({"0.0.0.0:9"}, "nosuchif0");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().message.find("this machine has lo") != std::string::npos);
}

TEST_CASE("the URL that is printed can be visited") {
    CHECK(url_of("0.0.0.0:8080") == "http://127.0.0.1:8080");
    CHECK(url_of("[::]:8080") == "http://[::1]:8080");
    CHECK(url_of("10.0.0.1:80") == "http://10.0.0.1:80");
}

TEST_CASE("a port that a daemon of a killed run still holds is waited for") {
    FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    const Endpoint endpoint{"127.0.0.1", ntohs(address.sin_port)};
    int end[2], ready[2];
    REQUIRE(::pipe(end) == 0);
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {  // by name a target, and its parent is no `goldlink up`
        ::close(end[1]);
        ::prctl(PR_SET_NAME, "goldlink-target");
        ::listen(listener.get(), 1);
        char byte = 0;
        [[maybe_unused]] auto n = ::write(ready[1], &byte, 1);
        n = ::read(end[0], &byte, 1);
        ::_exit(0);
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    listener.reset();
    const auto refused = claim_endpoint(endpoint);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("goldlink-target (pid") != std::string::npos);
    ::close(end[1]);  // now it ends, at some moment
    CHECK(claim_endpoint(endpoint, std::chrono::seconds(60)));
    ::waitpid(child, nullptr, 0);
    for (const int fd : {end[0], ready[0], ready[1]}) ::close(fd);
}
