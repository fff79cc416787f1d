// What an event of the target or of pxe means for the timeline of a boot. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::manager {

// An event as GET /events of either daemon has it; absent members are empty.
struct SourceEvent {
    std::int64_t seq = 0;
    std::string time, kind, mac, client_id, link_id, boot_id;
    std::optional<std::int64_t> generation;
    std::string arch, address, stage, why, file;  // members of data
    std::int64_t bytes = 0;
    std::string data_json;  // the whole data, with mac and generation
};
// `item_json`: one element of "events". Errors name the field.
Result<SourceEvent> parse_source_event(std::string_view item_json);

struct BootStep {
    // The boot stage it reached; "" when it is none of its own.
    std::string_view stage;
    std::string detail;
    enum class Outcome : std::uint8_t {
        goes_on,
        running,
        ended,
        failed
    } outcome = Outcome::goes_on;
    std::string problem;      // with failed
    bool starts_boot = true;  // may open a boot that is not known yet
};
// nullopt: nothing to do with a boot.
std::optional<BootStep> boot_step(const SourceEvent& event);

}  // namespace goldlink::manager
