// The links that the target holds, as GET /links of its control API tells them. Include only from
// .cpp files (Boost.JSON). Threads: any.
#pragma once

#include <map>
#include <string>

#include "common/json.hpp"
#include "manager/peer.hpp"

namespace goldlink::manager {

// By id. What is no link of the form it should have is left out.
PeerResult<std::map<std::string, json::object>> target_links(const Peer& target,
                                                             std::chrono::milliseconds timeout);

}  // namespace goldlink::manager
