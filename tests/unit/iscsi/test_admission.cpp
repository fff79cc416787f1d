#include <catch2/catch.hpp>

#include "target/iscsi/admission.hpp"
#include "target/iscsi/progress_watch.hpp"
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

TEST_CASE("a peer is stuck when something waits and next to nothing moves for the timeout") {
    constexpr std::uint64_t kLeast = ProgressWatch::kLeastBytes;
    SECTION("nothing at all") {
        ProgressWatch watch;
        CHECK_FALSE(watch.stuck(1'000, true, 0, 30'000));
        CHECK_FALSE(watch.stuck(30'999, true, 0, 30'000));
        CHECK(watch.stuck(31'000, true, 0, 30'000));
    }
    SECTION("a byte a second") {
        ProgressWatch watch;
        for (std::uint64_t now_ms = 500; now_ms < 30'500; now_ms += 500)
            CHECK_FALSE(watch.stuck(now_ms, true, now_ms / 1'000, 30'000));
        CHECK(watch.stuck(30'500, true, 30, 30'000));
    }
    SECTION("a slow line moves enough, for ever") {
        ProgressWatch watch;
        for (std::uint64_t second = 0; second < 3'600; ++second)
            CHECK_FALSE(watch.stuck(second * 1'000, true, second * kLeast / 25, 30'000));
    }
    SECTION("what waits is taken in between") {
        ProgressWatch watch;
        CHECK_FALSE(watch.stuck(0, true, 0, 30'000));
        CHECK_FALSE(watch.stuck(20'000, false, 48, 30'000));
        CHECK_FALSE(watch.stuck(40'000, true, 48, 30'000));
        CHECK_FALSE(watch.stuck(69'000, true, 48, 30'000));
        CHECK(watch.stuck(70'000, true, 48, 30'000));
    }
    SECTION("silence with nothing waiting is no fault") {
        ProgressWatch watch;
        CHECK_FALSE(watch.stuck(0, false, 0, 30'000));
        CHECK_FALSE(watch.stuck(86'400'000, false, 0, 30'000));
    }
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
