// A boot drawn for the terminal: each stage with its time and how long it lasted, as a bar on one
// common scale. Include only from .cpp files: Boost.JSON is heavy. Pure.
#pragma once

#include <boost/json.hpp>
#include <string>

namespace goldlink::cli {

// `boot` is a Boot of the REST API.
std::string draw_timeline(const boost::json::value& boot);

}  // namespace goldlink::cli
