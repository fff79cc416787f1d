#include "target/control/refusal_filter.hpp"

namespace goldlink::control {

std::optional<std::uint64_t> RefusalFilter::admit(const std::string& key, Time now) {
    if (entries_.size() >= kMaxKeys && !entries_.contains(key) && now - swept_ >= kSweepSeconds) {
        swept_ = now;
        std::erase_if(entries_,
                      [now](const auto& item) { return now - item.second.told >= kRepeatSeconds; });
    }
    const bool full = entries_.size() >= kMaxKeys && !entries_.contains(key);
    Entry& entry = full ? overflow_ : entries_[key];
    if (entry.told != Time() && now - entry.told < kRepeatSeconds) {
        ++entry.unsaid;
        return std::nullopt;
    }
    entry.told = now;
    return std::exchange(entry.unsaid, 0);
}

}  // namespace goldlink::control
