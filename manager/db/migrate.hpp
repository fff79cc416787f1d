// Brings the database's schema to this program's: forward only, one migration a transaction, under
// an advisory lock so that managers starting together do it once.
//
// Refused (conflict) when an applied migration's checksum is not the one this program carries, or
// when the database has migrations this program does not know: both would corrupt by guessing.
#pragma once

#include <span>

#include "manager/db/connection.hpp"
#include "manager/embedded.hpp"

namespace goldlink::manager::db {

// Returns how many migrations were applied.
Result<int> migrate(Connection& connection, std::span<const Migration> migrations);

}  // namespace goldlink::manager::db
