// Queries on the registry itself: its identity, what its target said of it, and the links that are
// to be removed from the target. One function a query.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::db {

struct RegistryIdentity {
    std::string id, mark;
    std::optional<std::string> previous_mark;
    std::optional<std::string> target_id;  // whose disks it names; nullopt: of none yet
    std::string match;                     // unknown, own, other, older, elsewhere
    bool adopt_requested = false;
};

Result<RegistryIdentity> registry_identity(Connection& c);
// Draws the next mark; nothing when another manager has done so since `mark` was read.
Result<> renew_mark(Connection& c, const std::string& mark);
Result<> set_registry_match(Connection& c, const std::string& match);
Result<> bind_registry(Connection& c, const std::string& target_id);
Result<> request_adoption(Connection& c, bool requested);

struct LinkRemoval {
    std::string link_id;
    bool to_trash = true;
};
Result<std::vector<LinkRemoval>> link_removals(Connection& c);
// The target is to remove it, though the registry never had it: it belongs to what was adopted.
Result<> add_link_removal(Connection& c, const std::string& link_id);
Result<> forget_link_removal(Connection& c, const std::string& link_id);

}  // namespace goldlink::manager::db
