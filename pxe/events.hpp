// The stages of boots as events for the manager (ARCHITECTURE.md, control API of goldlink-pxe).
// What only a DHCP packet claims is rationed, so that a flood of forged ones cannot push real
// events out of the log. Threads: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/event_log.hpp"
#include "common/mac.hpp"
#include "pxe/rate_limit.hpp"

namespace goldlink::pxe {

struct BootEvent {
    std::string_view kind;  // dhcp_discover, dhcp_offer, nbp_sent, script, boot_refused, ...
    Mac mac;
    std::string client_id;  // "" when the machine is in no table
    std::string boot_id;    // "" when none is known
    std::vector<std::pair<std::string_view, std::string>> data;  // empty values are left out
    std::optional<std::uint64_t> bytes;
    std::optional<std::uint64_t> generation;
};

class BootEvents {
  public:
    explicit BootEvents(EventLog& log) : log_(log) {}

    void add(const BootEvent& event);
    // For what a forged packet could claim of a machine in no table. False: held back.
    bool add_unproven(const BootEvent& event);

  private:
    EventLog& log_;
    std::mutex mutex_;
    RateLimit unproven_{10, 200};
};

}  // namespace goldlink::pxe
