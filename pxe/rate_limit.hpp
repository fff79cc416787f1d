// A token bucket: how often something may happen (a log line, an event) that strangers can cause.
// One thread, or under the owner's lock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace goldlink::pxe {

class RateLimit {
  public:
    using Time = std::chrono::steady_clock::time_point;

    RateLimit(double per_second, double burst)
        : per_second_(per_second), burst_(burst), tokens_(burst) {}

    bool allow(Time now) {
        const std::chrono::duration<double> passed = now - last_;
        if (passed.count() > 0) {
            tokens_ = std::min(burst_, tokens_ + passed.count() * per_second_);
            last_ = now;
        }
        if (tokens_ < 1) {
            ++held_back_;
            return false;
        }
        tokens_ -= 1;
        return true;
    }

    // How many were refused since the last call: to be said in the next line that is allowed.
    std::uint64_t take_held_back() { return std::exchange(held_back_, 0); }

  private:
    const double per_second_;
    const double burst_;
    double tokens_;
    std::uint64_t held_back_ = 0;
    Time last_{};
};

}  // namespace goldlink::pxe
