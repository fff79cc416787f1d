// Makes the target serve exactly the registry's links, and notes in the registry what it serves.
//
// Changed links are pushed one by one. Every so often, and whenever the target was away, the whole
// is compared: what the target lost is pushed again, and the states of all links are read. A link
// is removed there only if its deletion is on record here; one that the registry merely does not
// have is left alone. Used by the reconciler's thread alone, behind the RegistryGate.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>

#include "manager/db/connection.hpp"
#include "manager/db/registry.hpp"
#include "manager/db/rows.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class LinkSync {
  public:
    explicit LinkSync(Services& services) : services_(services) {}

    // Errors are the database's alone; a target that does not answer or refuses is noted and tried
    // again. `in_doubt` is set when the target holds a later state than the registry.
    Result<> round(db::Connection& c, bool& in_doubt);
    // Instead of a round: links that would be pushed say why they are not.
    Result<> hold_back(db::Connection& c, const std::string& why);
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
    Result<> compare_all(db::Connection& c, const WantedLinks& wanted, bool& in_doubt);
    Result<> remove_deleted(db::Connection& c, const WantedLinks& wanted);
    Result<> push(db::Connection& c, const std::string& id, const Wanted& wanted);
    Result<> note(db::Connection& c, const std::string& id, const Wanted& wanted, const Held& held);
    Result<> note_waiting(db::Connection& c, const WantedLinks& wanted, const std::string& why);
    Result<> follow_uses(db::Connection& c, const std::map<std::string, Held>& held);
    // True when the target does not have it any more.
    bool remove(const db::LinkRemoval& removal);

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
