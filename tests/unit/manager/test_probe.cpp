#include <atomic>
#include <catch2/catch.hpp>
#include <future>

#include "common/result.hpp"
#include "manager/probe.hpp"

using goldlink::ErrorKind;
using goldlink::failure;
using goldlink::Result;
using Probe = goldlink::manager::Probe<Result<int>>;
using Clock = std::chrono::steady_clock;

namespace {
Clock::time_point far() { return Clock::now() + std::chrono::seconds(30); }
}  // namespace

TEST_CASE("who asks a probe waits no longer than it likes for one that hangs") {
    std::promise<int> answer;
    std::atomic<int> asked = 0;
    Probe probe([&, future = answer.get_future().share()]() -> Result<int> {
        ++asked;
        return future.get();
    });
    CHECK_FALSE(probe.get(Clock::now(), Clock::now()));
    CHECK_FALSE(probe.get(Clock::now(), Clock::now() + std::chrono::milliseconds(1)));
    answer.set_value(7);
    const auto said = probe.get(Clock::now(), far());
    REQUIRE(said);
    CHECK(**said == 7);
    CHECK(asked == 1);
}

TEST_CASE("a good answer serves all who ask within a second, a bad one only who waited") {
    std::atomic<int> asked = 0;
    std::atomic<bool> good = false;
    Probe probe([&]() -> Result<int> {
        ++asked;
        if (!good) return failure(ErrorKind::unavailable, "away");
        return asked.load();
    });
    CHECK_FALSE(*probe.get(Clock::now(), far()));
    CHECK_FALSE(*probe.get(Clock::now(), far()));
    CHECK(asked == 2);
    good = true;
    const auto began = Clock::now();
    const auto first = probe.get(Clock::now(), far());
    const auto second = probe.get(Clock::now(), far());
    if (Clock::now() - began < Probe::kGoodFor) {
        CHECK(**first == 3);
        CHECK(**second == 3);
        CHECK(asked == 3);
    }
}

TEST_CASE("an answer that came while the caller waited for another one is not too old for it") {
    std::atomic<int> asked = 0;
    Probe probe([&]() -> Result<int> {
        ++asked;
        return failure(ErrorKind::unavailable, "away");
    });
    const auto entered = Clock::now();
    REQUIRE(probe.get(entered, far()));
    CHECK(probe.get(entered, entered));
    CHECK(asked == 1);
}
