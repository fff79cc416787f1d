// Leadership: which of several managers on one database works on target and pxe.
//
// One thread, with a connection of its own: it takes the lead when nobody has it, then raises the
// heartbeat every second while others wait for the lead, else seldom, so that an idle server writes
// next to nothing. Who waits ends a leader whose heartbeat stands still for kSilence,
// however well its connection looks: its machine may have vanished, or the process stand still. A
// leader knows by its own clock, kHolds after its last heartbeat was sent, that it may be one no
// more; that is sooner than anybody else takes over. Threads: any may call the public functions.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "manager/db/leadership.hpp"
#include "manager/db/pool.hpp"
#include "manager/watch.hpp"

namespace goldlink::manager {

class Leadership {
  public:
    static constexpr std::chrono::seconds kBeatEvery{1};
    static constexpr std::chrono::seconds kBeatAlone{10};
    static constexpr std::chrono::seconds kHolds{5};
    static constexpr std::chrono::seconds kSilence{8};
    static constexpr std::chrono::seconds kAbstain{3};

    Leadership(db::Pool& pool, Watch& watch);
    ~Leadership();  // stops
    void start();
    void stop();  // gives the lead up

    // The term that this manager leads in; nullopt: it does not lead.
    std::optional<std::int64_t> term() const;
    bool holds(std::int64_t term) const { return this->term() == term; }
    // Leaves the lead to others for a while.
    void resign();

  private:
    using Clock = std::chrono::steady_clock;
    void run();
    Result<> campaign();  // until the connection is lost, the lead is over, or the stop
    Result<bool> take(db::Connection& c);
    Result<> lead(db::Connection& c);
    void set_term(std::optional<std::int64_t> term, Clock::time_point sent);
    bool pause(std::chrono::milliseconds time);  // false: stop
    bool resigned() const;

    db::Pool& pool_;
    Watch& watch_;
    const std::string name_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;
    std::optional<std::int64_t> term_;
    Clock::time_point valid_until_{};
    Clock::time_point abstain_until_{};
    std::string said_;  // the thread's own, as those below
    db::LeaderBeat seen_;
    Clock::time_point seen_since_{};
    std::thread thread_;
};

}  // namespace goldlink::manager
