// What does not work, in words for the admin: what and why, and the way out. From what database,
// target and pxe say of themselves, or do not say. Pure.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.hpp"
#include "manager/db/leadership.hpp"
#include "manager/db/links.hpp"

namespace goldlink::manager {

struct Finding {
    std::string source;  // database, registry, target, pxe, links, storage, store, state, manager
    std::string problem;
    std::string to_do;
    bool rest_serves = false;  // all but what it names is served
    bool operator==(const Finding&) const = default;
};

// A state file that was set aside is to be told, but all is served without it.
bool is_degrading(const Finding& finding);
// Whether another server would do better: not so of a few links of many.
bool is_outage(const Finding& finding);

Finding database_finding(const std::string& problem);
Finding pool_finding(unsigned connections, std::chrono::seconds since);
Finding daemon_finding(const std::string& name, const std::string& problem);
// `match` as registry_identity has it, of a registry that the target does not take for its own.
Finding registry_finding(std::string_view match);
Finding leader_finding(const db::LeaderBeat& leader);
Finding links_finding(const db::LinkTrouble& trouble);
// From a daemon's GET /status. `skip`: a source that is told of better elsewhere, "" for none.
std::vector<Finding> findings_of(const json::object& status, std::string_view skip);

}  // namespace goldlink::manager
