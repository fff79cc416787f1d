// A page of a daemon's GET /events, {"events": [...], "next": N}, read so that one bad event costs
// that event: not the page, and not those after it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.hpp"
#include "manager/reconcile/boot_stages.hpp"

namespace goldlink::manager {

struct EventPage {
    std::vector<SourceEvent> events;
    std::vector<std::string> left_out;  // why, one each
    std::int64_t next = 0;
};

// An error when it does not even say where the next page begins.
Result<EventPage> parse_event_page(std::string_view body);

}  // namespace goldlink::manager
