// Whether a link is served: what the registry noted last, set right by what this manager's target
// says now. Pure.
#pragma once

#include <optional>
#include <string>

#include "common/json.hpp"
#include "manager/db/rows.hpp"
#include "manager/peer.hpp"

namespace goldlink::manager::api {

struct LinkStanding {
    std::string state;  // ready, pending, failed
    std::optional<std::string> problem;
    bool operator==(const LinkStanding&) const = default;
};

// The target's GET /links/{id}, or why there is none: status 404 when it does not have the link.
using LiveLink = PeerResult<json::object>;

LinkStanding standing_of(const db::Link& link, const LiveLink& live);

}  // namespace goldlink::manager::api
