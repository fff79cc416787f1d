// What the calls on links share. Include only from .cpp files (Boost.JSON).
#pragma once

#include "manager/api/input.hpp"
#include "manager/db/links.hpp"

namespace goldlink::manager::api {

// The link of the path; a ci token knows only the leases it made itself.
Maybe<db::Link> needed_link(db::Connection& c, const Call& call);

// Commit, save (link_versions.cpp).
void add_link_version_routes(Table& table);
// Rebase (link_rebase.cpp).
void add_link_rebase_routes(Table& table);
// What fills an overlay (link_usage.cpp).
void add_link_usage_routes(Table& table);

// Waits until the target serves the link, says why not, or the wait is over (10 s).
Maybe<db::Link> wait_served(Call& call, const std::string& id);

}  // namespace goldlink::manager::api
