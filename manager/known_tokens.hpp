// KnownTokens: which tokens the database called valid lately, for the one question that must be
// answered without it: may this caller read what is wrong (GET /health)? Bounded; threads: any.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace goldlink::manager {

class KnownTokens {
  public:
    using Clock = std::chrono::steady_clock;
    // The one seen longest ago is forgotten for a new one.
    static constexpr std::size_t kMost = 256;

    void note(const std::string& sha256, bool valid, Clock::time_point now = Clock::now());
    // Whether it was valid when it was seen last, at most so long ago.
    bool has(const std::string& sha256, Clock::duration within,
             Clock::time_point now = Clock::now()) const;

  private:
    mutable std::mutex mutex_;
    std::map<std::string, Clock::time_point> seen_;
};

}  // namespace goldlink::manager
