// A clean-up between registry and target: what the target holds and the registry does not need, and
// what became of it in people's words. How nothing wanted can go: target/control/garbage.hpp; here
// the registry must be read after candidates(). Include only from .cpp files (Boost.JSON).
#pragma once

#include <string>
#include <vector>

#include "common/json.hpp"
#include "manager/db/garbage.hpp"
#include "manager/peer.hpp"

namespace goldlink::manager {

struct GarbageCandidates {
    struct Version {
        std::string digest;
        std::vector<std::string> tasks;  // of the target's, that ended with it
    };
    std::string mark;
    std::vector<Version> versions;
    std::vector<std::string> uploads;

    bool has(const std::string& digest) const;
};
PeerResult<GarbageCandidates> garbage_candidates(const Peer& target);

// The registry has this version, or a task of the registry is to work with it or has just made it.
bool is_needed(const GarbageCandidates& candidates, const db::RegistryNeeds& needs,
               const std::string& digest);

// The body of the target's POST /gc, but for id and dry_run: what of the candidates goes.
json::object unwanted(const GarbageCandidates& candidates, const db::RegistryNeeds& needs);

// Superseded versions as a task keeps them in its source.
json::array superseded_json(const std::vector<db::UnusedVersion>& versions);
// The target's report as the API gives it. `superseded`: of superseded_json().
Result<json::object> garbage_view(const json::object& report, const json::array& superseded,
                                  bool dry_run);

}  // namespace goldlink::manager
