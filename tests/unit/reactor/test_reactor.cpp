#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <future>

#include "target/reactor/reactor.hpp"

using namespace goldlink;
using namespace goldlink::reactor;

namespace {

struct EventFd final : Pollable {
    EventFd() : fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
    void signal() const {
        const std::uint64_t one = 1;
        REQUIRE(::write(fd.get(), &one, sizeof one) == sizeof one);
    }
    void ready(bool readable, bool) override {
        if (!readable) return;
        std::uint64_t value = 0;
        if (drain && ::read(fd.get(), &value, sizeof value) != sizeof value) return;
        ++times;
        if (on_ready) on_ready();
    }
    FileDescriptor fd;
    bool drain = true;
    std::atomic<int> times{0};
    std::function<void()> on_ready;
};

}  // namespace

TEST_CASE("posted work runs on the reactor's thread, in order, and stop waits for it") {
    Reactor reactor(3, -1);
    reactor.start();
    CHECK(reactor.index() == 3);
    CHECK_FALSE(reactor.on_this_thread());
    std::vector<int> order;
    bool on_thread = false;
    reactor.post([&] { order.push_back(1); });
    reactor.run_and_wait([&] {
        order.push_back(2);
        on_thread = reactor.on_this_thread();
    });
    CHECK(order == std::vector<int>{1, 2});
    CHECK(on_thread);
    reactor.post([&] { order.push_back(3); });
    reactor.stop();
    CHECK(order.size() == 3);
    reactor.stop();
}

TEST_CASE("a watched descriptor wakes a sleeping reactor, as long as it is ready") {
    Reactor reactor(0, -1);
    reactor.start();
    EventFd event;
    std::promise<void> thrice;
    event.drain = false;
    event.on_ready = [&] {
        if (event.times != 3) return;
        reactor.poller().unwatch(event.fd.get(), event);
        thrice.set_value();
    };
    reactor.run_and_wait(
        [&] { REQUIRE(reactor.poller().watch(event.fd.get(), event, true, false)); });
    CHECK(event.times == 0);
    event.signal();  // level triggered: told until it is read
    CHECK(thrice.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
    reactor.stop();
    CHECK(event.times == 3);
}

TEST_CASE("a pollable that goes away in the same round is not told") {
    Poller poller;
    EventFd one, two;
    REQUIRE(poller.watch(one.fd.get(), one, true, false));
    REQUIRE(poller.watch(two.fd.get(), two, true, false));
    one.on_ready = [&] { poller.unwatch(two.fd.get(), two); };
    two.on_ready = [&] { poller.unwatch(one.fd.get(), one); };
    one.signal();
    two.signal();
    CHECK(poller.poll() == 2);
    CHECK(one.times + two.times == 1);
    CHECK(poller.poll() == 0);
}

TEST_CASE("turn-end work runs once however often it is enlisted, and may be withdrawn") {
    struct Work final : TurnEnd {
        void turn_ended() override { ++times; }
        int times = 0;
    };
    Reactor reactor(0, -1);
    reactor.start();
    Work work, withdrawn;
    reactor.run_and_wait([&] {
        reactor.at_turn_end(work);
        reactor.at_turn_end(work);
        reactor.at_turn_end(withdrawn);
        reactor.withdraw(withdrawn);
    });
    reactor.run_and_wait([] {});
    reactor.stop();
    CHECK(work.times == 1);
    CHECK(withdrawn.times == 0);
}

TEST_CASE("spinning pays only where events come close together") {
    SpinBudget budget;
    CHECK(budget.ns() == 0);
    budget.event_after(10'000);
    CHECK(budget.ns() == SpinBudget::kFirstNs);
    budget.event_after(60'000);
    budget.event_after(90'000);
    CHECK(budget.ns() <= SpinBudget::kMaxNs);
    CHECK(budget.ns() >= 60'000);
    budget.event_after(SpinBudget::kMaxNs + 1);
    CHECK(budget.ns() == 0);
}

TEST_CASE("an idle reactor takes no processor time") {
    Reactor reactor(0, -1);
    reactor.start();
    const auto cpu_ns = [&] {
        timespec time{};
        reactor.run_and_wait([&] { ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time); });
        return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
    };
    const auto before = cpu_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(cpu_ns() - before < 20'000'000);
    reactor.stop();
}
