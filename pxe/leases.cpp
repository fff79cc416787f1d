#include "pxe/leases.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace goldlink::pxe {

namespace {

constexpr std::int64_t kOfferSeconds = 60;
constexpr std::int64_t kLeftOutSeconds = 600;  // an address that somebody else uses
// For so long nobody else gets what a stranger was offered, that a flood cannot take it away.
constexpr std::int64_t kFreshSeconds = 10;
// A renewal that moves the end by less is not worth a write to disk.
constexpr std::int64_t kPersistSeconds = 60;

constexpr std::uint8_t kLinkSelection = 5;  // of option 82, RFC 3527

AddressAnswer silent(std::string why) {
    AddressAnswer answer;
    answer.kind = AddressAnswer::Kind::silent;
    answer.why = std::move(why);
    return answer;
}

// The subnet that the machine is to get an address of, by any address in it; empty: that of the
// interface the packet came in on. A relay may say another than its own (RFC 3527 section 3), a
// machine too (RFC 3011 section 2.1).
Ipv4 wanted_subnet(const Packet& packet) {
    if (const auto* relay = packet.options.find(option::kRelayAgent))
        if (const auto inner = parse_options(*relay)) {
            const Ipv4 selected = inner->address(kLinkSelection);
            if (!selected.empty()) return selected;
        }
    const Ipv4 selected = packet.options.address(option::kSubnetSelection);
    return selected.empty() ? packet.giaddr : selected;
}

AddressAnswer nak(std::string why) {
    AddressAnswer answer;
    answer.kind = AddressAnswer::Kind::nak;
    answer.why = std::move(why);
    return answer;
}

}  // namespace

Result<LeasePool> LeasePool::make(PoolOptions options) {
    const std::string range =
        fmt::format("{}-{}", options.first.to_string(), options.last.to_string());
    if (options.first > options.last)
        return failure(ErrorKind::invalid, fmt::format("the DHCP range {} is empty", range));
    if (options.last.value - options.first.value >= kMaxPoolAddresses)
        return failure(
            ErrorKind::invalid,
            fmt::format("the DHCP range {} is larger than {} addresses", range, kMaxPoolAddresses));
    if (!same_subnet(options.server, options.first, options.netmask) ||
        !same_subnet(options.server, options.last, options.netmask))
        return failure(ErrorKind::invalid,
                       fmt::format("the DHCP range {} is not in the subnet of {} (netmask {})",
                                   range, options.server.to_string(), options.netmask.to_string()));
    return LeasePool(std::move(options));
}

LeasePool::LeasePool(PoolOptions options) : options_(std::move(options)) { count_leasable(); }

void LeasePool::serve_from(const std::vector<std::pair<Ipv4, Ipv4>>& addresses) {
    Ipv4 found;
    for (const auto& [address, netmask] : addresses) {
        if (!same_subnet(address, options_.first, netmask)) continue;
        if (found.empty() || address == options_.server) found = address;
        if (found == address) options_.netmask = netmask;
    }
    options_.server = found;
    count_leasable();
}

void LeasePool::count_leasable() {
    leasable_ = 0;
    for (std::uint32_t value = options_.first.value; value <= options_.last.value; ++value)
        if (leasable({value})) ++leasable_;
}

void LeasePool::put(Ipv4 address, const Entry& entry) {
    forget(address);
    if (const auto held = held_by(entry.mac)) forget(*held);
    entries_[address] = entry;
    by_mac_[entry.mac] = address;
}

void LeasePool::forget(Ipv4 address) {
    const auto at = entries_.find(address);
    if (at == entries_.end()) return;
    if (held_by(at->second.mac) == address) by_mac_.erase(at->second.mac);
    entries_.erase(at);
}

void LeasePool::restore(const std::vector<Lease>& leases) {
    for (const Lease& lease : leases)
        if (leasable(lease.address) && !held_by(lease.mac) && !entries_.contains(lease.address))
            put(lease.address, {lease.mac, lease.expires, 0, Use::leased, lease.expires});
}

std::vector<Lease> LeasePool::leases() const {
    std::vector<Lease> all;
    for (const auto& [address, entry] : entries_)
        if (entry.use == Use::leased) all.push_back({address, entry.mac, entry.expires});
    return all;
}

bool LeasePool::leasable(Ipv4 address) const {
    const std::uint32_t host = address.value & ~options_.netmask.value;
    const bool subnet_itself = host == 0 || host == ~options_.netmask.value;
    return address >= options_.first && address <= options_.last && address != options_.server &&
           address != options_.router && !subnet_itself;
}

std::optional<Ipv4> LeasePool::held_by(const Mac& mac) const {
    const auto at = by_mac_.find(mac);
    return at == by_mac_.end() ? std::nullopt : std::optional(at->second);
}

bool LeasePool::free_for(Ipv4 address, const Mac& mac, std::int64_t now) const {
    if (!leasable(address)) return false;
    const auto at = entries_.find(address);
    return at == entries_.end() || at->second.expires <= now || held_by(mac) == address ||
           (at->second.use == Use::foreign && at->second.mac == mac);
}

// Where the machine was found though its lease was over: to be refused it may cost it its disk.
std::optional<Ipv4> LeasePool::used_by(const Mac& mac) const {
    for (const auto& [address, entry] : entries_)
        if (entry.use == Use::foreign && entry.mac == mac) return address;
    return std::nullopt;
}

// A free address for a machine that holds none: the one it asks for, one never used, the one that
// expired first.
std::optional<Ipv4> LeasePool::choose(Ipv4 wanted, const Mac& mac, std::int64_t now) const {
    if (free_for(wanted, mac, now)) return wanted;
    std::optional<Ipv4> oldest;
    std::int64_t oldest_expired = now + 1;
    for (std::uint32_t value = options_.first.value; value <= options_.last.value; ++value) {
        const Ipv4 address{value};
        if (!leasable(address)) continue;
        const auto at = entries_.find(address);
        if (at == entries_.end()) return address;
        if (at->second.expires <= now && at->second.expires < oldest_expired) {
            oldest = address;
            oldest_expired = at->second.expires;
        }
    }
    return oldest;
}

// Of a stranger, and so since `before` or longer.
std::optional<Ipv4> LeasePool::oldest(Use use, std::int64_t before, const BootTable& table) const {
    std::optional<Ipv4> found;
    std::int64_t since = before;
    for (const auto& [address, entry] : entries_) {
        if (entry.use != use || entry.since > since || table.find(entry.mac) != nullptr) continue;
        if (found && entry.since == since) continue;
        found = address;
        since = entry.since;
    }
    return found;
}

// Half of the pool at most is kept: a new room's machines are all strangers at first.
bool LeasePool::only_reserve_left(std::int64_t now, const BootTable& table) const {
    std::size_t held = 0;
    std::size_t by_known = 0;
    for (const auto& [address, entry] : entries_) {
        if (entry.expires <= now) continue;
        ++held;
        if (held_by(entry.mac) == address && table.find(entry.mac) != nullptr) ++by_known;
    }
    const std::size_t kept = std::min(table.macs(), leasable_ / 2);
    return leasable_ - held <= kept - std::min(kept, by_known);
}

bool LeasePool::stranger_in_time(std::int64_t now) {
    const std::int64_t passed = std::max<std::int64_t>(0, now - strangers_at_);  // clocks are set
    strangers_at_ = now;
    stranger_tokens_ = static_cast<std::uint32_t>(std::min<std::int64_t>(
        kStrangerBurst,
        stranger_tokens_ + std::min<std::int64_t>(passed, kStrangerBurst) * kStrangersPerSecond));
    if (stranger_tokens_ == 0) return false;
    --stranger_tokens_;
    return true;
}

// A stranger has the full time when it renews: by then it is more than a packet that was made up.
std::uint32_t LeasePool::seconds_for(const Mac& mac, const Entry& entry, std::int64_t now,
                                     const BootTable& table) const {
    const bool renews = entry.use == Use::leased && now - entry.since >= kStrangerSeconds / 4;
    return table.find(mac) != nullptr || renews
               ? options_.lease_seconds
               : std::min(options_.lease_seconds, kStrangerSeconds);
}

AddressAnswer LeasePool::grant(AddressAnswer::Kind kind, Ipv4 address,
                               std::uint32_t seconds) const {
    AddressAnswer answer;
    answer.kind = kind;
    answer.address = address;
    answer.netmask = options_.netmask;
    answer.router = options_.router;
    answer.dns_servers = options_.dns_servers;
    answer.lease_seconds = seconds;
    return answer;
}

AddressAnswer LeasePool::used_up(bool but_reserve) const {
    AddressAnswer answer;
    answer.kind = AddressAnswer::Kind::unavailable;
    answer.why = fmt::format("no address of {}-{} is free{}", options_.first.to_string(),
                             options_.last.to_string(),
                             but_reserve ? " for machines that are not in the boot table" : "");
    answer.to_do = "widen --dhcp-range, or shorten --dhcp-lease-seconds";
    return answer;
}

AddressAnswer LeasePool::discover(const Mac& mac, Ipv4 wanted, std::int64_t now,
                                  const BootTable& table) {
    if (const auto held = held_by(mac)) {
        Entry& entry = entries_.at(*held);
        wanted = *held;  // expired, it may still be had
        if (entry.expires > now) {
            if (entry.use == Use::offered) entry = {mac, now + kOfferSeconds, now, Use::offered};
            auto offer =
                grant(AddressAnswer::Kind::offer, *held, seconds_for(mac, entry, now, table));
            offer.probe = entry.use == Use::offered;
            return offer;
        }
    } else if (const auto used = used_by(mac)) {
        wanted = *used;
    }
    std::optional<Ipv4> address;
    if (table.find(mac) != nullptr) {
        address = choose(wanted, mac, now);
        if (!address) address = oldest(Use::offered, now, table);
        if (!address) address = oldest(Use::declined, now, table);
        if (!address) return used_up(false);
    } else {
        if (!stranger_in_time(now))
            return silent("too many machines that are not in the boot table ask for an address");
        if (only_reserve_left(now, table))
            address = oldest(Use::offered, now - kFreshSeconds, table);
        else
            address = choose(wanted, mac, now);
        if (!address) return used_up(table.macs() > 0);
    }
    const Entry entry{mac, now + kOfferSeconds, now, Use::offered};
    changed_ = changed_ || (entries_.contains(*address) && entries_[*address].use == Use::leased);
    put(*address, entry);
    auto offer = grant(AddressAnswer::Kind::offer, *address, seconds_for(mac, entry, now, table));
    offer.probe = true;
    return offer;
}

AddressAnswer LeasePool::request(const Packet& packet, const Mac& mac, std::int64_t now,
                                 const BootTable& table) {
    const Ipv4 server = packet.options.address(option::kServerIdentifier);
    const Ipv4 wanted = packet.options.address(option::kRequestedAddress);
    const auto held = held_by(mac);
    if (!server.empty() && server != options_.server) {
        // It took another server's offer; ours is free again.
        if (held && entries_.at(*held).use == Use::offered) forget(*held);
        return silent("it takes another server's offer");
    }
    const Ipv4 address = wanted.empty() ? packet.ciaddr : wanted;
    if (address.empty()) return silent("it names no address");
    if (!free_for(address, mac, now))
        return nak(fmt::format("{} is not yours to use", address.to_string()));
    Entry entry{mac, 0, now, Use::offered};
    if (held == address && entries_.at(address).expires > now) {
        entry = entries_.at(address);
    } else if (table.find(mac) == nullptr &&
               (!stranger_in_time(now) || only_reserve_left(now, table))) {
        return silent("no address is to be had now by machines that are not in the boot table");
    }
    const std::uint32_t seconds = seconds_for(mac, entry, now, table);
    if (entry.use != Use::leased) entry.since = now;
    entry.expires = now + seconds;
    entry.use = Use::leased;
    if (entry.expires - entry.persisted >= kPersistSeconds) {
        entry.persisted = entry.expires;
        changed_ = true;
    }
    put(address, entry);
    return grant(AddressAnswer::Kind::ack, address, seconds);
}

AddressAnswer LeasePool::give_up(const Packet& packet, const Mac& mac, std::int64_t now) {
    const auto held = held_by(mac);
    if (!held || packet.options.address(option::kServerIdentifier) != options_.server)
        return silent("what it gives up is not ours");
    Entry& entry = entries_.at(*held);
    changed_ = true;
    if (packet.type == MessageType::decline) {
        entry.use = Use::declined;
        entry.since = now;
        entry.expires = now + kLeftOutSeconds;
        by_mac_.erase(mac);
    } else {
        entry.expires = now;
    }
    return silent("it gives its address up");
}

bool LeasePool::in_use(Ipv4 address, const Mac& machine, std::int64_t now) {
    const auto claimed = std::count_if(entries_.begin(), entries_.end(), [&](const auto& one) {
        return one.second.use == Use::foreign && one.second.mac == machine &&
               one.second.expires > now;
    });
    const auto most = std::clamp<std::size_t>(leasable_ / 2, 1, kMaxClaimsPerMachine);
    if (claimed >= static_cast<std::ptrdiff_t>(most)) return false;
    forget(address);
    entries_[address] = {machine, now + kLeftOutSeconds, now, Use::foreign};
    return true;
}

AddressAnswer LeasePool::answer(const Packet& packet, std::int64_t now, const BootTable& table) {
    const auto mac = packet.mac();
    if (packet.op != 1 || !mac) return silent("it is no machine's request");
    if (options_.server.empty()) {
        AddressAnswer answer;
        answer.kind = AddressAnswer::Kind::unavailable;
        answer.why = fmt::format("this server has no address any more in the subnet of {}-{}",
                                 options_.first.to_string(), options_.last.to_string());
        answer.to_do = "give its interface one, or start with another --dhcp-range";
        return answer;
    }
    // RFC 2131 section 4.3.1: the address must fit where the machine is.
    const Ipv4 subnet = wanted_subnet(packet);
    if (!subnet.empty() && !same_subnet(options_.server, subnet, options_.netmask))
        return silent(fmt::format("it is in the subnet of {}, and the addresses {}-{} are not",
                                  subnet.to_string(), options_.first.to_string(),
                                  options_.last.to_string()));
    switch (packet.type) {
        case MessageType::discover:
            return discover(*mac, packet.options.address(option::kRequestedAddress), now, table);
        case MessageType::request:
            return request(packet, *mac, now, table);
        case MessageType::decline:
        case MessageType::release:
            return give_up(packet, *mac, now);
        case MessageType::inform:
            return grant(AddressAnswer::Kind::ack, {}, options_.lease_seconds);
        case MessageType::none:
        case MessageType::offer:
        case MessageType::ack:
        case MessageType::nak:
            break;
    }
    return silent("it is no request of a DHCP client");
}

}  // namespace goldlink::pxe
