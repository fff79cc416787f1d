// Keeps pxe's boot table the registry's: the approved clients and the settings, pushed whole when
// the registry changed and when pxe holds another revision. Used by the reconciler's thread alone.
#pragma once

#include <chrono>

#include "manager/db/connection.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class PxeSync {
  public:
    explicit PxeSync(Services& services) : services_(services) {}

    // Errors are the database's alone; a pxe that does not answer is tried again.
    Result<> round(db::Connection& c);
    void forget() {
        done_revision_ = -1;
        next_try_ = {};
    }
    std::chrono::steady_clock::time_point next_try() const { return next_try_; }

  private:
    using Clock = std::chrono::steady_clock;
    // What pxe says it holds, or nullopt when it does not answer.
    std::optional<std::int64_t> held_revision();
    void try_later();

    Services& services_;
    std::int64_t done_revision_ = -1;
    bool away_ = false;
    std::chrono::milliseconds backoff_{0};
    Clock::time_point next_try_{};
};

}  // namespace goldlink::manager
