// The boots in progress: which boot id belongs to what a machine does now. A boot begins with the
// firmware's first DHCP packet and goes on through NBP, iPXE's own DHCP and the script. Kept in
// memory only: after a restart the next script simply begins a boot.
// Bounded: the machine not heard of for longest is forgotten first. Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "common/mac.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

inline constexpr std::size_t kMaxBoots = 16384;

class Boots {
  public:
    using Time = std::chrono::steady_clock::time_point;

    struct Seen {
        std::string boot_id;
        bool first;  // not a repetition of a packet this boot has sent before
    };

    explicit Boots(std::size_t max_boots = kMaxBoots) : max_boots_(max_boots) {}

    // A DHCP request of firmware or of iPXE. A repeated one (same xid) belongs to the same boot,
    // and so does another try of firmware that got no further than DHCP.
    Seen dhcp(const Mac& mac, bool ipxe, std::uint32_t xid, Time now);
    // The machine has read its NBP to the end.
    void nbp_sent(const Mac& mac, Time now);
    // A script is asked for; `again` when a script of ours sent it (retry, a menu's choice).
    std::string script(const Mac& mac, bool again, Time now);

    // The machine's boot, "" when none is known.
    std::string current(const Mac& mac) const;
    // True between the machine's first DHCP packet and its script.
    bool is_booting(const Mac& mac, Time now) const;
    // Which machine has an address, as the DHCP traffic told.
    void learn_address(const Mac& mac, Ipv4 address);
    std::optional<Mac> mac_of(Ipv4 address) const;

    std::size_t size() const;

  private:
    enum class Stage : std::uint8_t { dhcp, nbp, ipxe, script };
    struct Boot {
        Mac mac;
        std::string id;
        Stage stage;
        std::uint32_t xid = 0;
        Time last_seen;
        Ipv4 address;
    };
    using Position = std::list<Boot>::iterator;

    Boot* find(const Mac& mac);
    Boot& begin(const Mac& mac, Stage stage, Time now);
    void touch(Boot& boot, Stage stage, Time now);

    const std::size_t max_boots_;
    mutable std::mutex mutex_;
    std::list<Boot> boots_;  // the most recently seen first
    std::unordered_map<std::string, Position> by_mac_;
    std::unordered_map<std::uint32_t, Mac> by_address_;
};

}  // namespace goldlink::pxe
