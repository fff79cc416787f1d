#include "manager/known_tokens.hpp"

#include <algorithm>

namespace goldlink::manager {

void KnownTokens::note(const std::string& sha256, bool valid, Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (!valid) {
        seen_.erase(sha256);
        return;
    }
    if (seen_.size() >= kMost && !seen_.contains(sha256))
        seen_.erase(std::ranges::min_element(
            seen_, {}, &std::map<std::string, Clock::time_point>::value_type::second));
    seen_[sha256] = now;
}

bool KnownTokens::has(const std::string& sha256, Clock::duration within,
                      Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.find(sha256);
    return found != seen_.end() && now - found->second <= within;
}

}  // namespace goldlink::manager
