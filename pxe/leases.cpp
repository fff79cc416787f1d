#include "pxe/leases.hpp"

#include <fmt/format.h>

namespace goldlink::pxe {

namespace {

constexpr std::int64_t kOfferSeconds = 60;
constexpr std::int64_t kDeclinedSeconds = 600;

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

void LeasePool::restore(const std::vector<Lease>& leases) {
    for (const Lease& lease : leases) {
        if (!leasable(lease.address) || held_by(lease.mac)) continue;
        if (entries_.emplace(lease.address, Entry{lease.mac, lease.expires, true, false}).second)
            by_mac_[lease.mac] = lease.address;
    }
}

std::vector<Lease> LeasePool::leases() const {
    std::vector<Lease> all;
    for (const auto& [address, entry] : entries_)
        if (entry.confirmed && !entry.declined) all.push_back({address, entry.mac, entry.expires});
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
    if (at == entries_.end()) return true;
    return at->second.expires <= now || (at->second.mac == mac && !at->second.declined);
}

std::optional<Ipv4> LeasePool::choose(const Mac& mac, Ipv4 wanted, std::int64_t now) const {
    if (const auto held = held_by(mac); held && free_for(*held, mac, now)) return held;
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

AddressAnswer LeasePool::grant(AddressAnswer::Kind kind, Ipv4 address) const {
    return {kind,
            address,
            options_.netmask,
            options_.router,
            options_.dns_servers,
            options_.lease_seconds,
            ""};
}

AddressAnswer LeasePool::discover(const Mac& mac, Ipv4 wanted, std::int64_t now) {
    const auto address = choose(mac, wanted, now);
    if (!address) {
        AddressAnswer answer;
        answer.kind = AddressAnswer::Kind::unavailable;
        answer.why = fmt::format(
            "none of the addresses {}-{} is free; widen --dhcp-range, or shorten "
            "--dhcp-lease-seconds",
            options_.first.to_string(), options_.last.to_string());
        return answer;
    }
    Entry& entry = entries_[*address];
    if (entry.mac != mac || !entry.confirmed || entry.expires <= now) {
        if (entry.mac != mac) by_mac_.erase(entry.mac);
        changed_ = changed_ || entry.confirmed;
        entry = {mac, now + kOfferSeconds, false, false};
        if (const auto held = held_by(mac); held && *held != *address) entries_.erase(*held);
        by_mac_[mac] = *address;
    }
    return grant(AddressAnswer::Kind::offer, *address);
}

AddressAnswer LeasePool::request(const Packet& packet, const Mac& mac, std::int64_t now) {
    const Ipv4 server = packet.options.address(option::kServerIdentifier);
    const Ipv4 wanted = packet.options.address(option::kRequestedAddress);
    if (!server.empty() && server != options_.server) {
        // It took another server's offer; ours is free again.
        if (const auto held = held_by(mac); held && !entries_[*held].confirmed) {
            entries_.erase(*held);
            by_mac_.erase(mac);
        }
        return silent("it takes another server's offer");
    }
    const Ipv4 address = wanted.empty() ? packet.ciaddr : wanted;
    if (address.empty()) return silent("it names no address");
    if (!free_for(address, mac, now))
        return nak(fmt::format("{} is not yours to use", address.to_string()));
    if (const auto held = held_by(mac); held && *held != address) entries_.erase(*held);
    Entry& entry = entries_[address];
    if (entry.mac != mac) by_mac_.erase(entry.mac);
    entry = {mac, now + options_.lease_seconds, true, false};
    by_mac_[mac] = address;
    changed_ = true;
    return grant(AddressAnswer::Kind::ack, address);
}

AddressAnswer LeasePool::answer(const Packet& packet, std::int64_t now) {
    const auto mac = packet.mac();
    if (packet.op != 1 || !mac) return silent("it is no machine's request");
    // RFC 2131 section 4.3.1: the address must fit where the machine is.
    const Ipv4 subnet = wanted_subnet(packet);
    if (!subnet.empty() && !same_subnet(options_.server, subnet, options_.netmask))
        return silent(fmt::format("it is in the subnet of {}, and the addresses {}-{} are not",
                                  subnet.to_string(), options_.first.to_string(),
                                  options_.last.to_string()));
    switch (packet.type) {
        case MessageType::discover:
            return discover(*mac, packet.options.address(option::kRequestedAddress), now);
        case MessageType::request:
            return request(packet, *mac, now);
        case MessageType::decline:
        case MessageType::release: {
            const auto held = held_by(*mac);
            if (!held || packet.options.address(option::kServerIdentifier) != options_.server)
                return silent("what it gives up is not ours");
            Entry& entry = entries_[*held];
            const bool declined = packet.type == MessageType::decline;
            entry.declined = declined;
            entry.expires = declined ? now + kDeclinedSeconds : now;
            if (declined) by_mac_.erase(*mac);
            changed_ = true;
            return silent("it gives its address up");
        }
        case MessageType::inform:
            return grant(AddressAnswer::Kind::ack, {});
        case MessageType::none:
        case MessageType::offer:
        case MessageType::ack:
        case MessageType::nak:
            break;
    }
    return silent("it is no request of a DHCP client");
}

}  // namespace goldlink::pxe
