#include "pxe/boots.hpp"

#include "common/hex.hpp"

namespace goldlink::pxe {

namespace {

// Firmware gives up on DHCP after a minute; from the NBP to iPXE's DHCP it may have to wait for a
// switch port (spanning tree holds it for 30 to 60 s).
constexpr std::chrono::minutes kFirmwareTries{2};
constexpr std::chrono::minutes kToNextStage{10};
// A failed machine may stand at its menu over a night.
constexpr std::chrono::hours kScriptAgain{24};

}  // namespace

Boots::Boot* Boots::find(const Mac& mac) {
    const auto at = by_mac_.find(mac.to_string());
    return at == by_mac_.end() ? nullptr : &*at->second;
}

void Boots::touch(Boot& boot, Stage stage, Time now) {
    boot.stage = stage;
    boot.last_seen = now;
    const auto at = by_mac_.find(boot.mac.to_string());
    boots_.splice(boots_.begin(), boots_, at->second);
}

Boots::Boot& Boots::begin(const Mac& mac, Stage stage, Time now) {
    if (Boot* known = find(mac)) {
        known->id = random_uuid();
        touch(*known, stage, now);
        return *known;
    }
    if (boots_.size() >= max_boots_) {
        const Boot& oldest = boots_.back();
        if (const auto at = by_address_.find(oldest.address.value);
            at != by_address_.end() && at->second == oldest.mac)
            by_address_.erase(at);
        by_mac_.erase(oldest.mac.to_string());
        boots_.pop_back();
    }
    boots_.push_front({mac, random_uuid(), stage, 0, now, {}});
    by_mac_[mac.to_string()] = boots_.begin();
    return boots_.front();
}

Boots::Seen Boots::dhcp(const Mac& mac, bool ipxe, std::uint32_t xid, Time now) {
    const std::lock_guard lock(mutex_);
    const Stage stage = ipxe ? Stage::ipxe : Stage::dhcp;
    if (Boot* boot = find(mac)) {
        const auto silence = now - boot->last_seen;
        const bool goes_on = ipxe ? boot->stage != Stage::script && silence < kToNextStage
                                  : boot->stage == Stage::dhcp && silence < kFirmwareTries;
        if (goes_on) {
            const bool first = boot->xid != xid || boot->stage != stage;
            boot->xid = xid;
            touch(*boot, stage, now);
            return {boot->id, first};
        }
    }
    Boot& boot = begin(mac, stage, now);
    boot.xid = xid;
    return {boot.id, true};
}

void Boots::nbp_sent(const Mac& mac, Time now) {
    const std::lock_guard lock(mutex_);
    if (Boot* boot = find(mac); boot != nullptr && boot->stage == Stage::dhcp)
        touch(*boot, Stage::nbp, now);
}

std::string Boots::script(const Mac& mac, bool again, Time now) {
    const std::lock_guard lock(mutex_);
    if (Boot* boot = find(mac)) {
        const auto silence = now - boot->last_seen;
        const bool goes_on =
            again ? silence < kScriptAgain : boot->stage != Stage::script && silence < kToNextStage;
        if (goes_on) {
            touch(*boot, Stage::script, now);
            return boot->id;
        }
    }
    return begin(mac, Stage::script, now).id;
}

std::string Boots::current(const Mac& mac) const {
    const std::lock_guard lock(mutex_);
    const auto at = by_mac_.find(mac.to_string());
    return at == by_mac_.end() ? "" : at->second->id;
}

bool Boots::is_booting(const Mac& mac, Time now) const {
    const std::lock_guard lock(mutex_);
    const auto at = by_mac_.find(mac.to_string());
    return at != by_mac_.end() && at->second->stage != Stage::script &&
           now - at->second->last_seen < kFirmwareTries;
}

void Boots::learn_address(const Mac& mac, Ipv4 address) {
    const std::lock_guard lock(mutex_);
    Boot* boot = find(mac);
    if (boot == nullptr || address.empty()) return;
    if (const auto old = by_address_.find(boot->address.value);
        old != by_address_.end() && old->second == mac)
        by_address_.erase(old);
    boot->address = address;
    by_address_[address.value] = mac;
}

std::optional<Mac> Boots::mac_of(Ipv4 address) const {
    const std::lock_guard lock(mutex_);
    const auto at = by_address_.find(address.value);
    return at == by_address_.end() ? std::nullopt : std::optional(at->second);
}

std::size_t Boots::size() const {
    const std::lock_guard lock(mutex_);
    return boots_.size();
}

}  // namespace goldlink::pxe
