// Stitches the events of target and pxe into the boots of clients, and stores them.
// Runs on a lent connection inside a transaction; a lost boot_id (a daemon was restarted) falls
// back to the client's open boot.
#pragma once

#include "manager/db/connection.hpp"
#include "manager/reconcile/boot_stages.hpp"

namespace goldlink::manager {

Result<> record_event(db::Connection& c, const SourceEvent& event);

}  // namespace goldlink::manager
