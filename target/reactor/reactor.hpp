// Reactor: one thread, pinned to one core, with its Asio loop. Everything of a link happens here.
//
// post() is the only function other threads may call, beside stop() and run_and_wait(). Timers,
// accepts and posted work come from the io_context. Sockets that carry commands are watched by the
// reactor itself (watch()), level triggered and without a system call per event; work that a turn
// of the loop collects (replies to send) is done once at its end (at_turn_end()).
//
// Before it sleeps the loop looks again for a short while, but only where that pays: see
// spin_budget.hpp. An idle reactor sleeps.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/result.hpp"
#include "target/reactor/poller.hpp"
#include "target/reactor/spin_budget.hpp"

namespace goldlink::reactor {

class IoRing;

// Work at the end of a loop turn; enlisted by its owner, which outlives the call or withdraws.
class TurnEnd {
  public:
    virtual ~TurnEnd() = default;
    virtual void turn_ended() = 0;

  private:
    friend class Reactor;
    bool enlisted_ = false;
};

class Reactor {
  public:
    // `core` < 0: not pinned.
    Reactor(unsigned index, int core);
    ~Reactor();  // stop + join

    void start();
    void stop();  // from any thread; the loop ends after what is queued
    void post(std::function<void()> work);
    // Runs `work` on the reactor and waits for it. Not from a reactor thread.
    void run_and_wait(const std::function<void()>& work);

    unsigned index() const { return index_; }
    bool on_this_thread() const;
    boost::asio::io_context& context() { return context_; }
    IoRing& ring() { return *ring_; }  // made by start(); used on this thread only

    // On this thread only.
    Poller& poller() { return *poller_; }
    void at_turn_end(TurnEnd& work);
    void withdraw(TurnEnd& work);  // before its destruction, if enlisted

  private:
    void run();
    void run_turn_ends();
    void sleep();

    unsigned index_;
    int core_;
    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
    std::unique_ptr<IoRing> ring_;
    std::unique_ptr<Poller> poller_;
    SpinBudget spin_;
    std::vector<TurnEnd*> turn_ends_;
    std::vector<TurnEnd*> running_turn_ends_;
    bool stopping_ = false;  // on this thread only
    std::thread thread_;
};

}  // namespace goldlink::reactor
