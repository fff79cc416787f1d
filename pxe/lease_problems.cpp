#include "pxe/lease_problems.hpp"

#include <fmt/format.h>

namespace goldlink::pxe {

namespace {

constexpr std::chrono::minutes kTold{10};
constexpr std::size_t kNamed = 5;

}  // namespace

void LeaseProblems::unavailable(const Mac& machine, const AddressAnswer& answer, Time now) {
    const std::lock_guard lock(mutex_);
    refused_ = {machine, answer, now};
}

void LeaseProblems::in_use(Ipv4 address, const Mac& owner, Time now) {
    const std::lock_guard lock(mutex_);
    owners_[address] = {owner, now};
}

std::vector<Problem> LeaseProblems::list(Time now) const {
    const std::lock_guard lock(mutex_);
    std::vector<Problem> found;
    if (refused_ && now - refused_->at < kTold)
        found.push_back({"network",
                         fmt::format("{} asked for an address and got none: {}",
                                     refused_->machine.to_string(), refused_->answer.why),
                         refused_->answer.to_do});
    std::string taken;
    std::size_t count = 0;
    for (const auto& [address, owner] : owners_) {
        if (now - owner.at >= kTold || ++count > kNamed) continue;
        taken += fmt::format("{}{} (by {})", taken.empty() ? "" : ", ", address.to_string(),
                             owner.mac.to_string());
    }
    if (count > kNamed) taken += fmt::format(" and {} more", count - kNamed);
    if (count > 0)
        found.push_back({"network",
                         fmt::format("of the addresses to lease these are in use by machines that "
                                     "they were not leased to, and are left out: {}",
                                     taken),
                         "give those machines other addresses, or leave theirs out of "
                         "--dhcp-range"});
    return found;
}

}  // namespace goldlink::pxe
