// SpinBudget: how long a reactor looks for events before it sleeps. A wake-up from sleep costs more
// than a small command, so a reactor whose next event tends to come within kMaxNs spins that long;
// one whose events come further apart sleeps at once. Pure.
#pragma once

#include <cstdint>

namespace goldlink::reactor {

class SpinBudget {
  public:
    static constexpr std::int64_t kMaxNs = 100'000;
    static constexpr std::int64_t kFirstNs = 20'000;

    std::int64_t ns() const { return budget_ns_; }

    // An event came this long after the one before, asleep or awake.
    void event_after(std::int64_t gap_ns) {
        if (gap_ns > kMaxNs)
            budget_ns_ = 0;
        else if (gap_ns > budget_ns_)
            budget_ns_ =
                budget_ns_ == 0 ? kFirstNs : (budget_ns_ * 2 > kMaxNs ? kMaxNs : budget_ns_ * 2);
    }

  private:
    std::int64_t budget_ns_ = 0;
};

}  // namespace goldlink::reactor
