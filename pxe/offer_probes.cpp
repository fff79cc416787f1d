#include "pxe/offer_probes.hpp"

#include <algorithm>
#include <iterator>

#include "common/check.hpp"

namespace goldlink::pxe {

bool OfferProbes::hold(const Mac& machine, bool known, HeldOffer offer, Time now) {
    const Ipv4 address = offer.answer.address;
    const auto at = waiting_.find(address);
    if (at != waiting_.end() && at->second.machine == machine) {
        at->second.offer = std::move(offer);
        return true;
    }
    // One that was offered to another machine before, which the pool has taken it from.
    if (at != waiting_.end()) waiting_.erase(at);
    if (waiting_.size() >= (known ? kMaxProbed : kMaxProbed / 2)) return false;
    waiting_.emplace(address, Waiting{machine, std::move(offer), 0, now});
    return true;
}

std::vector<Ipv4> OfferProbes::to_ask(Time now) {
    std::vector<Ipv4> due;
    for (auto& [address, one] : waiting_) {
        if (one.asked == kProbes || one.due > now) continue;
        ++one.asked;
        one.due = now + kProbeWait;
        due.push_back(address);
    }
    return due;
}

std::optional<HeldOffer> OfferProbes::heard(const Mac& sender, Ipv4 address) {
    const auto at = waiting_.find(address);
    // The machine itself may still have it, from an operating system that it left.
    if (at == waiting_.end() || at->second.machine == sender) return std::nullopt;
    HeldOffer offer = std::move(at->second.offer);
    waiting_.erase(at);
    return offer;
}

std::vector<HeldOffer> OfferProbes::take_free(Time now) {
    std::vector<HeldOffer> free;
    for (auto at = waiting_.begin(); at != waiting_.end();) {
        const bool over = at->second.asked == kProbes && at->second.due <= now;
        if (over) free.push_back(std::move(at->second.offer));
        at = over ? waiting_.erase(at) : std::next(at);
    }
    return free;
}

OfferProbes::Time OfferProbes::next() const {
    CHECK(!waiting_.empty(), "asked only while an offer waits");
    return std::min_element(
               waiting_.begin(), waiting_.end(),
               [](const auto& a, const auto& b) { return a.second.due < b.second.due; })
        ->second.due;
}

}  // namespace goldlink::pxe
