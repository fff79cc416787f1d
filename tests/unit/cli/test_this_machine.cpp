// Which servers are of this machine.
#include <catch2/catch.hpp>

#include "manager/cli/this_machine.hpp"

using goldlink::cli::is_this_machine;

TEST_CASE("addresses of this machine are told from others") {
    CHECK(is_this_machine("http://127.0.0.1:8080"));
    CHECK(is_this_machine("http://127.4.5.6:8080"));
    CHECK(is_this_machine("http://localhost:8080"));
    CHECK(is_this_machine("unix:/run/goldlink/manager.sock"));
    for (const char* other : {"http://192.0.2.1:8080", "http://[2001:db8::1]:8080",
                              "http://no-such-host.invalid:8080", "http://", ""}) {
        INFO(other);
        CHECK_FALSE(is_this_machine(other));
    }
}
