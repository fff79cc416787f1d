// RegistryGate: whether the target takes this registry for its own. While it does not (the database
// is empty, another one's, or an earlier state of its own) nothing is pushed to target or pxe, and
// both go on serving what they have, until a person adopts the registry.
//
// Asked before each round of the reconciler, by its thread alone. The target is asked when a
// manager begins to lead, when the database is not what it was, and every so often.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "manager/db/registry.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class RegistryGate {
  public:
    explicit RegistryGate(Services& services) : services_(services) {}

    // Errors are the database's alone. False also while the target does not answer for the first
    // time: what it would say is not known.
    Result<bool> open(db::Connection& c);
    void forget() { asked_ = {}, passed_ = false, mark_.clear(); }  // this manager leads anew
    void doubt() { asked_ = {}; }  // something does not fit: ask again before the next push
    // The registry's disks are on another target: whoever has that one should lead.
    bool is_elsewhere() const { return elsewhere_; }
    // True once after an adoption: all is to be compared now.
    bool take_adopted() { return std::exchange(adopted_, false); }
    std::chrono::steady_clock::time_point next_try() const { return next_try_; }

  private:
    using Clock = std::chrono::steady_clock;
    struct Said {
        std::string match, target_id;
        std::int64_t revision = 0;
    };

    Result<bool> ask(db::Connection& c, db::RegistryIdentity identity, std::int64_t revision);
    PeerResult<Said> call(const std::string& method, const std::string& body);
    std::string offer(const db::RegistryIdentity& identity, std::int64_t revision, bool adopt);
    Result<bool> closed(db::Connection& c, const std::string& match);
    Result<> adopt(db::Connection& c);

    Services& services_;
    bool passed_ = false;
    bool elsewhere_ = false;
    bool adopted_ = false;
    std::string mark_;           // the registry's, when it passed
    std::int64_t revision_ = 0;  // likewise
    std::string said_;           // what was logged last
    Clock::time_point asked_{};
    Clock::time_point next_try_{};
};

}  // namespace goldlink::manager
