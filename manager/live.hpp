// GET /live of the manager's control socket: for who supervises it. An answer says that it takes
// requests and that nobody sits on the locks that every request needs; whether the database and the
// daemons are well is for /health to say, and no reason to restart this process.
#pragma once

#include <vector>

#include "common/http/server.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

std::vector<http::Route> live_routes(Services& services);

}  // namespace goldlink::manager
