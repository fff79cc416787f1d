// GET /live of the daemons' control APIs, as who supervises them reads it.
#pragma once

#include <string_view>

namespace goldlink::http {

// The type of the 503 that says: a part of this process stands still. Any other answer, also a 503
// of another type (all connections are in use), comes from a process that lives.
inline constexpr std::string_view kNotLive = "not-live";

}  // namespace goldlink::http
