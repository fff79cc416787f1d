#include "target/iscsi/admission.hpp"

#include <algorithm>

#include "common/check.hpp"

namespace goldlink::iscsi {

namespace {

constexpr std::uint64_t kForgetMs = 10'000;

}  // namespace

Admission::Answer Admission::admit(const std::string& address, std::uint64_t now_ms) {
    const std::lock_guard lock(mutex_);
    if (total_ >= limits_.total) return Answer::too_many;
    const double burst = 2.0 * limits_.logins_per_second;
    const auto [found, is_new] = sources_.try_emplace(address);
    Source& source = found->second;
    if (is_new) {
        source.tokens = burst;
    } else {
        const double earned =
            static_cast<double>(now_ms - source.filled_ms) * limits_.logins_per_second / 1000.0;
        source.tokens = std::min(burst, source.tokens + earned);
    }
    source.filled_ms = now_ms;
    if (source.connections >= limits_.per_address) return Answer::too_many_of_address;
    if (source.tokens < 1.0) return Answer::too_fast;
    source.tokens -= 1.0;
    ++source.connections;
    ++total_;
    return Answer::admitted;
}

void Admission::release(const std::string& address) {
    const std::lock_guard lock(mutex_);
    const auto found = sources_.find(address);
    CHECK(found != sources_.end() && found->second.connections > 0,
          "a connection is released that was not admitted");
    --found->second.connections;
    --total_;
}

void Admission::expire(std::uint64_t now_ms) {
    const std::lock_guard lock(mutex_);
    std::erase_if(sources_, [&](const auto& entry) {
        return entry.second.connections == 0 && now_ms - entry.second.filled_ms > kForgetMs;
    });
}

std::size_t Admission::connections() const {
    const std::lock_guard lock(mutex_);
    return total_;
}

}  // namespace goldlink::iscsi
