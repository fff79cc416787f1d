#include "target/reactor/reactor.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <future>

#include "common/check.hpp"
#include "common/log.hpp"
#include "target/reactor/io_ring.hpp"

namespace goldlink::reactor {

namespace {

thread_local const Reactor* this_reactor = nullptr;

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

Reactor::Reactor(unsigned index, int core)
    : index_(index), core_(core), context_(1), work_(context_.get_executor()) {}

Reactor::~Reactor() { stop(); }

void Reactor::start() {
    CHECK(!thread_.joinable(), "a reactor is started twice");
    poller_ = std::make_unique<Poller>();
    ring_ = make_io_ring(context_);
    thread_ = std::thread([this] { run(); });
}

void Reactor::stop() {
    if (!thread_.joinable()) return;
    CHECK(!on_this_thread(), "a reactor cannot stop itself and wait for that");
    post([this] { stopping_ = true; });
    thread_.join();
}

void Reactor::post(std::function<void()> work) { boost::asio::post(context_, std::move(work)); }

void Reactor::run_and_wait(const std::function<void()>& work) {
    CHECK(!on_this_thread(), "a reactor cannot wait for itself");
    std::promise<void> done;
    post([&] {
        work();
        done.set_value();
    });
    done.get_future().wait();
}

bool Reactor::on_this_thread() const { return this_reactor == this; }

void Reactor::at_turn_end(TurnEnd& work) {
    if (work.enlisted_) return;
    work.enlisted_ = true;
    turn_ends_.push_back(&work);
}

void Reactor::withdraw(TurnEnd& work) {
    if (!work.enlisted_) return;
    work.enlisted_ = false;
    std::erase(turn_ends_, &work);
    std::replace(running_turn_ends_.begin(), running_turn_ends_.end(), &work,
                 static_cast<TurnEnd*>(nullptr));
}

// What is enlisted meanwhile runs in the next turn, which does not sleep first.
void Reactor::run_turn_ends() {
    running_turn_ends_.swap(turn_ends_);
    for (std::size_t i = 0; i < running_turn_ends_.size(); ++i) {
        TurnEnd* work = running_turn_ends_[i];
        if (work == nullptr) continue;
        work->enlisted_ = false;
        work->turn_ended();
    }
    running_turn_ends_.clear();
}

void Reactor::run() {
    this_reactor = this;
    pthread_setname_np(pthread_self(), fmt::format("reactor-{}", index_).c_str());
    if (core_ >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(static_cast<std::size_t>(core_), &cores);
        if (const int error = pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
            error != 0)
            log::warn("reactor {} cannot be pinned to core {}: {}", index_, core_,
                      system_failure("pthread_setaffinity_np", error).value().message);
    }

    // The poller's descriptor wakes the io_context; the poller itself is asked every turn.
    boost::asio::posix::stream_descriptor wake(context_, poller_->descriptor());
    bool armed = false;
    const auto woken = [&armed](const boost::system::error_code&) { armed = false; };

    std::int64_t last_event_ns = now_ns();
    unsigned empty_turns = 0;
    while (!stopping_) {
        std::size_t events = poller_->poll();
        // While it spins, the io_context is asked more rarely: that costs more than the poller.
        constexpr unsigned kTurnsPerContextPoll = 4;
        if (empty_turns % kTurnsPerContextPoll == 0) events += context_.poll();
        if (!turn_ends_.empty()) run_turn_ends();
        if (events > 0) {
            const std::int64_t now = now_ns();
            spin_.event_after(now - last_event_ns);
            last_event_ns = now;
            empty_turns = 0;
            continue;
        }
        ++empty_turns;
        if (!turn_ends_.empty()) continue;
        if (now_ns() - last_event_ns < spin_.ns()) {
            ::sched_yield();  // somebody else may need this core to produce our next event
            continue;
        }
        if (!armed) {
            armed = true;
            wake.async_wait(boost::asio::posix::stream_descriptor::wait_read, woken);
        }
        context_.run_one();
        empty_turns = 0;
    }
    wake.release();  // the descriptor is the poller's
    context_.poll();
    this_reactor = nullptr;
}

}  // namespace goldlink::reactor
