// OverlayScrub: compares what lies in the overlays of policy keep and super with what was written,
// each disk once in a while, the one that has waited longest first. What is found bad is told in an
// event (overlay_damaged) and shown by the link. A disk is held for one step of a few megabytes at
// a time, so that whatever else wants it need not wait. Used by one thread, which may block.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "common/event_log.hpp"
#include "target/control/link_table.hpp"

namespace goldlink::control {

class OverlayScrub {
  public:
    OverlayScrub(LinkTable& links, EventLog& events, std::chrono::milliseconds every)
        : links_(links), events_(events), every_(every) {}

    // The disk whose turn it is, if any, on from where the last call ended. `go_on` is asked before
    // each step of so many bytes, which it may put off; false ends the call. Returns whether there
    // is more to compare now.
    bool compare_one(const std::function<bool(std::uint64_t bytes)>& go_on);

  private:
    struct Disk {
        std::string link_id, overlay;
        std::uint16_t lun = 0;
        auto operator<=>(const Disk&) const = default;
    };
    struct Known {
        std::chrono::steady_clock::time_point next;  // when to compare it
        std::uint64_t told_bytes = 0;                // bad, as last told
        // Of a comparison that is under way:
        std::uint64_t chunk = 0, looked_bytes = 0, bad_bytes = 0;
    };

    const Disk* due();
    void tell(const Disk& disk, Known& known);

    LinkTable& links_;
    EventLog& events_;
    const std::chrono::milliseconds every_;
    std::map<Disk, Known> known_;
};

}  // namespace goldlink::control
