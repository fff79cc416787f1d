// Makes the target serve exactly the registry's links, and notes in the registry what it serves.
//
// Changed links are pushed one by one. Every so often, and whenever the target was away, the whole
// is compared: what the target lost is pushed again, what the registry does not have is removed,
// and the states of all links are read. Used by the reconciler's thread alone.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class LinkSync {
  public:
    explicit LinkSync(Services& services) : services_(services) {}

    // Errors are the database's alone; a target that does not answer or refuses is noted and tried
    // again.
    Result<> round(db::Connection& c);
    void forget();  // this manager leads anew: compare everything
    std::chrono::steady_clock::time_point next_try() const { return next_try_; }

  private:
    using Clock = std::chrono::steady_clock;
    struct Wanted {
        std::string body;  // the link's JSON for the target
        std::int64_t revision = 0, applied_revision = 0;
    };
    struct Held {
        bool ready = false;
        std::string problem;
        bool in_use = false;
        std::int64_t revision = 0;
    };
    using WantedLinks = std::map<std::string, Wanted>;

    Result<WantedLinks> read_wanted(db::Connection& c);
    Result<> compare_all(db::Connection& c, const WantedLinks& wanted);
    Result<> push(db::Connection& c, const std::string& id, const Wanted& wanted);
    Result<> note(db::Connection& c, const std::string& id, const Wanted& wanted, const Held& held);
    Result<> target_away(db::Connection& c, const WantedLinks& wanted, const PeerError& error);
    Result<> follow_uses(db::Connection& c, const std::map<std::string, Held>& held);
    void remove(const std::string& id);

    Services& services_;
    std::int64_t done_revision_ = -1;  // the registry's, when everything was last pushed
    std::int64_t pushing_revision_ = 0;
    std::set<std::string> known_;  // links the target holds, as far as known
    std::map<std::string, Clock::time_point> idle_since_;
    bool compare_ = true;
    bool away_ = false;
    bool trouble_ = false;
    std::chrono::milliseconds backoff_{0};
    Clock::time_point next_try_{};
};

}  // namespace goldlink::manager
