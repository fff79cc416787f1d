// Queries for a clean-up: what the registry needs of the target's data, and which versions nobody
// uses. One function a query; run them on a lent connection.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "manager/db/connection.hpp"

namespace goldlink::manager::db {

// What must stay at the target, as it was at one moment.
struct RegistryNeeds {
    std::set<std::string> digests;  // of versions, and of what unfinished tasks read or are to make
    std::set<std::string> tasks;    // that have not ended
    std::set<std::string> uploads;  // that they wait for
};
// But for these versions.
Result<RegistryNeeds> registry_needs(Connection& c, const std::vector<std::int64_t>& without);

struct UnusedVersion {
    std::int64_t id = 0, number = 0;
    std::string image, digest;
};
// Ready versions that no channel, link, group or unfinished task uses and that are not among the
// newest `keep` ready ones of their image; oldest first, at most 1,000.
Result<std::vector<UnusedVersion>> superseded_versions(Connection& c, std::int64_t keep);
// Forgets one, unless somebody uses it by now (false). What was made from it counts as made from
// what it was made from.
Result<bool> drop_superseded(Connection& c, std::int64_t version_id);

}  // namespace goldlink::manager::db
