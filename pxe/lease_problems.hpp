// What goes wrong with the addresses of `--mode dhcp`, for `problems` of GET /status: each is told
// for as long as it may still matter after it was seen last. Threads: any.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "common/mac.hpp"
#include "common/problems.hpp"
#include "pxe/decide.hpp"

namespace goldlink::pxe {

class LeaseProblems {
  public:
    using Time = std::chrono::steady_clock::time_point;

    // A machine asked for an address and got none.
    void unavailable(const Mac& machine, const AddressAnswer& answer, Time now);
    // `owner` answers at an address that was to be given to another.
    void in_use(Ipv4 address, const Mac& owner, Time now);

    std::vector<Problem> list(Time now) const;

  private:
    struct Refused {
        Mac machine;
        AddressAnswer answer;
        Time at;
    };
    struct Owner {
        Mac mac;
        Time at;
    };
    mutable std::mutex mutex_;
    std::optional<Refused> refused_;  // the last
    std::map<Ipv4, Owner> owners_;    // at most as many as the pool has addresses
};

}  // namespace goldlink::pxe
