// The lease pool of `--mode dhcp`, for sites that have no DHCP server (RFC 2131 section 4.3). Pure:
// packets and the time in, an AddressAnswer out; the owner persists leases() when changed() says
// so, before it sends an ACK. One thread.
//
// A machine keeps its address as long as the pool can afford it: an expired lease is given to
// another only when no address is free.
//
// Any host can ask in the name of as many machines as it likes. So part of the pool is kept for the
// machines of the boot table, the others (strangers) get new addresses at a bounded rate and for
// kStrangerSeconds until they have renewed once, and an offer to one that nobody took goes first.
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
inline constexpr std::uint32_t kStrangerSeconds = 600;
inline constexpr std::uint32_t kStrangerBurst = 64;  // new addresses at once, then
inline constexpr std::uint32_t kStrangersPerSecond = 4;
// One machine that answers for more addresses of the pool than this, or for half of it, answers for
// any (proxy ARP), or wants to keep them all from us.
inline constexpr std::size_t kMaxClaimsPerMachine = 16;

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
    AddressAnswer answer(const Packet& request, std::int64_t now, const BootTable& table);

    // `machine`, which we did not give it to, answers at this address: it is left out for a while.
    // False: not believed, see kMaxClaimsPerMachine.
    bool in_use(Ipv4 address, const Mac& machine, std::int64_t now);

    // Our address that machines know us by; empty while we have none in their subnet.
    Ipv4 server() const { return options_.server; }
    // The addresses, with their netmasks, that the interface has now. The one it served from stays
    // as long as it is there.
    void serve_from(const std::vector<std::pair<Ipv4, Ipv4>>& addresses);
    std::vector<Lease> leases() const;  // confirmed ones, by address
    bool take_changed() { return std::exchange(changed_, false); }
    void not_persisted() { changed_ = true; }  // it could not be done; to be tried again

  private:
    enum class Use : std::uint8_t {
        offered,
        leased,
        declined,  // the machine found somebody else there: RFC 2131 section 4.3.3
        foreign,   // we found somebody else there; that one may have it
    };
    struct Entry {
        Mac mac;
        std::int64_t expires = 0;
        std::int64_t since = 0;  // when this machine got it
        Use use = Use::offered;
        std::int64_t persisted = 0;  // the end that the owner was told of last
    };

    explicit LeasePool(PoolOptions options);
    AddressAnswer discover(const Mac& mac, Ipv4 wanted, std::int64_t now, const BootTable& table);
    AddressAnswer request(const Packet& request, const Mac& mac, std::int64_t now,
                          const BootTable& table);
    AddressAnswer give_up(const Packet& request, const Mac& mac, std::int64_t now);
    AddressAnswer grant(AddressAnswer::Kind kind, Ipv4 address, std::uint32_t seconds) const;
    AddressAnswer used_up(bool but_reserve) const;
    std::optional<Ipv4> held_by(const Mac& mac) const;
    std::optional<Ipv4> used_by(const Mac& mac) const;
    bool leasable(Ipv4 address) const;
    void count_leasable();
    bool free_for(Ipv4 address, const Mac& mac, std::int64_t now) const;
    std::optional<Ipv4> choose(Ipv4 wanted, const Mac& mac, std::int64_t now) const;
    std::optional<Ipv4> oldest(Use use, std::int64_t before, const BootTable& table) const;
    bool only_reserve_left(std::int64_t now, const BootTable& table) const;
    bool stranger_in_time(std::int64_t now);
    std::uint32_t seconds_for(const Mac& mac, const Entry& entry, std::int64_t now,
                              const BootTable& table) const;
    void put(Ipv4 address, const Entry& entry);
    void forget(Ipv4 address);

    PoolOptions options_;
    std::size_t leasable_ = 0;
    std::map<Ipv4, Entry> entries_;
    std::map<Mac, Ipv4> by_mac_;  // offered and leased ones
    std::uint32_t stranger_tokens_ = kStrangerBurst;
    std::int64_t strangers_at_ = 0;
    bool changed_ = false;
};

}  // namespace goldlink::pxe
