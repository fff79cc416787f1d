// The lease pool of `--mode dhcp`, for sites that have no DHCP server (RFC 2131 section 4.3). Pure:
// packets and the time in, an AddressAnswer out; the owner persists leases() when changed() says
// so, before it sends an ACK. One thread.
//
// A machine keeps its address as long as the pool can afford it: an expired lease is given to
// another only when no address is free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/mac.hpp"
#include "pxe/decide.hpp"

namespace goldlink::pxe {

inline constexpr std::uint32_t kMaxPoolAddresses = 4096;

struct PoolOptions {
    Ipv4 first;
    Ipv4 last;    // inclusive
    Ipv4 server;  // ours; never leased
    Ipv4 netmask;
    Ipv4 router;  // empty: none
    std::vector<Ipv4> dns_servers;
    std::uint32_t lease_seconds = 43200;
};

struct Lease {
    Ipv4 address;
    Mac mac;
    std::int64_t expires = 0;  // seconds since 1970
    bool operator==(const Lease&) const = default;
};

class LeasePool {
  public:
    // Errors: invalid: an empty or too large range, or one outside the server's subnet.
    static Result<LeasePool> make(PoolOptions options);
    // Takes back what was persisted; leases outside of the range are dropped.
    void restore(const std::vector<Lease>& leases);

    // Never Kind::none. A machine behind a relay of another subnet is left to that one's server.
    AddressAnswer answer(const Packet& request, std::int64_t now);

    std::vector<Lease> leases() const;  // confirmed ones, by address
    bool take_changed() { return std::exchange(changed_, false); }

  private:
    struct Entry {
        Mac mac;
        std::int64_t expires = 0;
        bool confirmed = false;  // else only offered
        bool declined = false;   // somebody else uses it: RFC 2131 section 4.3.3
    };

    explicit LeasePool(PoolOptions options) : options_(std::move(options)) {}
    AddressAnswer discover(const Mac& mac, Ipv4 wanted, std::int64_t now);
    AddressAnswer request(const Packet& request, const Mac& mac, std::int64_t now);
    AddressAnswer grant(AddressAnswer::Kind kind, Ipv4 address) const;
    std::optional<Ipv4> held_by(const Mac& mac) const;
    bool leasable(Ipv4 address) const;
    bool free_for(Ipv4 address, const Mac& mac, std::int64_t now) const;
    std::optional<Ipv4> choose(const Mac& mac, Ipv4 wanted, std::int64_t now) const;

    PoolOptions options_;
    std::map<Ipv4, Entry> entries_;
    std::map<Mac, Ipv4> by_mac_;
    bool changed_ = false;
};

}  // namespace goldlink::pxe
