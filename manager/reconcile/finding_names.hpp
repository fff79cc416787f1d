// What a verification found, in the names that people gave: versions as image and number, links as
// the clients and leases that have them. Include only from .cpp files.
#pragma once

#include "common/json.hpp"
#include "manager/db/connection.hpp"

namespace goldlink::manager {

// `findings` as the target gives them, each with "image" and "number" beside the digests of its
// uses, and the "links" that they hit. What has no uses is left as it is.
Result<json::array> name_findings(db::Connection& c, const json::array& findings);
// An event's data about the version of a digest, with the "images" that it is, as win11@7.
Result<json::object> name_version(db::Connection& c, json::object data);

}  // namespace goldlink::manager
