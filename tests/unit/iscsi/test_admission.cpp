#include <catch2/catch.hpp>

#include "target/iscsi/admission.hpp"
#include "target/iscsi/socket_address.hpp"

using namespace goldlink;
using namespace goldlink::iscsi;
using Answer = Admission::Answer;

TEST_CASE("connections are limited in all and per address") {
    Admission admission({.total = 3, .per_address = 2, .logins_per_second = 100});
    CHECK(admission.admit("a", 0) == Answer::admitted);
    CHECK(admission.admit("a", 0) == Answer::admitted);
    CHECK(admission.admit("a", 0) == Answer::too_many_of_address);
    CHECK(admission.admit("b", 0) == Answer::admitted);
    CHECK(admission.admit("c", 0) == Answer::too_many);
    admission.release("a");
    CHECK(admission.admit("c", 0) == Answer::admitted);
    CHECK(admission.connections() == 3);
}

TEST_CASE("logins of an address are limited in rate, with a burst") {
    Admission admission({.total = 1000, .per_address = 1000, .logins_per_second = 10});
    const auto admitted = [&](std::uint64_t now_ms) {
        int count = 0;
        while (admission.admit("a", now_ms) == Answer::admitted) {
            ++count;
            admission.release("a");
        }
        CHECK(admission.admit("a", now_ms) == Answer::too_fast);
        return count;
    };
    CHECK(admitted(1'000) == 20);
    CHECK(admitted(1'500) == 5);
    CHECK(admission.admit("b", 1'500) == Answer::admitted);
    CHECK(admitted(100'000) == 20);
}

TEST_CASE("addresses without connections are forgotten") {
    Admission admission({.total = 10, .per_address = 10, .logins_per_second = 1});
    CHECK(admission.admit("a", 0) == Answer::admitted);
    CHECK(admission.admit("a", 0) == Answer::admitted);
    CHECK(admission.admit("a", 0) == Answer::too_fast);
    admission.expire(60'000);
    admission.release("a");
    admission.release("a");
    admission.expire(60'000);
    CHECK(admission.connections() == 0);
    CHECK(admission.admit("a", 60'000) == Answer::admitted);
}

TEST_CASE("portal addresses") {
    for (const char* text : {"10.0.0.1:3260", "0.0.0.0:0", "[::1]:3260", "[::]:65535"}) {
        const auto address = SocketAddress::parse(text);
        REQUIRE(address);
        CHECK(address->to_string() == text);
    }
    CHECK(SocketAddress::parse("[::ffff:10.0.0.1]:80")->to_string() == "10.0.0.1:80");
    CHECK(SocketAddress::parse("[::]:1")->is_wildcard());
    CHECK_FALSE(SocketAddress::parse("127.0.0.1:1")->is_wildcard());
    for (const char* bad : {"", "10.0.0.1", ":3260", "::1:3260", "10.0.0.1:65536", "10.0.0.1:x",
                            "host.example:3260", "10.0.0.1:", "[]:1"})
        CHECK_FALSE(SocketAddress::parse(bad));
}
