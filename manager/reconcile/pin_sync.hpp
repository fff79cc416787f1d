// Keeps what the target pins what the registry's channels say: pushed whole when a pinned channel
// moved, and once in a while, for a target that came back. Used by the reconciler's thread alone.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "manager/db/connection.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class PinSync {
  public:
    explicit PinSync(Services& services) : services_(services) {}

    // Errors are the database's alone; a target that does not answer is tried again.
    Result<> round(db::Connection& c);
    void forget() {
        pushed_.reset();
        next_try_ = {};
    }
    std::chrono::steady_clock::time_point next_try() const { return next_try_; }

  private:
    using Clock = std::chrono::steady_clock;

    Services& services_;
    std::optional<std::vector<std::string>> pushed_;  // what the target took last
    Clock::time_point next_try_{};
};

}  // namespace goldlink::manager
