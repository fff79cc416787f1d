#include <catch2/catch.hpp>

#include "manager/known_tokens.hpp"

using namespace goldlink::manager;
using namespace std::chrono_literals;

TEST_CASE("tokens are known from when they were valid last, until they are not") {
    KnownTokens known;
    const auto now = KnownTokens::Clock::now();
    CHECK_FALSE(known.has("a", 1h, now));
    known.note("a", true, now);
    CHECK(known.has("a", 60s, now + 60s));
    CHECK_FALSE(known.has("a", 60s, now + 61s));
    CHECK(known.has("a", 1h, now + 61s));
    known.note("a", false, now + 62s);
    CHECK_FALSE(known.has("a", 1h, now + 62s));
}

TEST_CASE("known tokens are bounded; the one seen longest ago goes") {
    KnownTokens known;
    const auto now = KnownTokens::Clock::now();
    for (std::size_t i = 0; i <= KnownTokens::kMost; ++i)
        known.note(std::to_string(i), true, now + std::chrono::seconds(i));
    CHECK_FALSE(known.has("0", 24h, now));
    CHECK(known.has("1", 24h, now));
    CHECK(known.has(std::to_string(KnownTokens::kMost), 24h, now));
}
