// Offers that wait until it is known that nobody else uses their address (RFC 2131 section 3.1,
// step 2): boot ROMs and iPXE do not look themselves. An address is asked for kProbes times; who
// has not answered kProbeWait after the last is not there. Pure: the time comes in, and what to ask
// for and to send goes out. One thread.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/mac.hpp"
#include "pxe/decide.hpp"

namespace goldlink::pxe {

inline constexpr unsigned kProbes = 2;
inline constexpr std::chrono::milliseconds kProbeWait{150};
inline constexpr std::size_t kMaxProbed = 256;

struct HeldOffer {
    std::string interface;  // that the request came in on
    Arrival arrival;
    Ipv4 local;  // ours that it reached
    Packet request;
    AddressAnswer answer;
};

class OfferProbes {
  public:
    using Time = std::chrono::steady_clock::time_point;

    // Holds the offer. A repeated request replaces the one held and does not begin again. False:
    // there are too many; half of the places are for machines of the boot table.
    bool hold(const Mac& machine, bool known, HeldOffer offer, Time now);
    // Which addresses to ask for now.
    std::vector<Ipv4> to_ask(Time now);
    // Somebody at `address` sent a packet. The offer that cannot be made for that, if one waits.
    std::optional<HeldOffer> heard(const Mac& sender, Ipv4 address);
    // Offers whose address nobody has.
    std::vector<HeldOffer> take_free(Time now);
    void clear() { waiting_.clear(); }

    bool empty() const { return waiting_.empty(); }
    // When to_ask() or take_free() have something; not when empty.
    Time next() const;

  private:
    struct Waiting {
        Mac machine;
        HeldOffer offer;
        unsigned asked = 0;
        Time due;
    };
    std::map<Ipv4, Waiting> waiting_;
};

}  // namespace goldlink::pxe
