// What the target says of the versions it holds, beside what the registry knows. Include only from
// .cpp files.
#pragma once

#include <map>
#include <string>

#include "common/json.hpp"
#include "manager/services.hpp"

namespace goldlink::manager::api {

// By digest; empty when the target does not answer.
using LiveVersions = std::map<std::string, json::object>;
LiveVersions live_versions(const Services& services);

}  // namespace goldlink::manager::api
