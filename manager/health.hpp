// Health: what works and what does not, gathered for GET /health and GET /status.
//
// Database, target and pxe are each asked by a thread of their own, when somebody wants to know and
// at most once a second. A report waits two seconds for them all and takes silence for an answer,
// so it comes in time whatever hangs. Threads: any.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "manager/db/leadership.hpp"
#include "manager/db/registry.hpp"
#include "manager/findings.hpp"
#include "manager/peer.hpp"
#include "manager/probe.hpp"
#include "manager/target_status.hpp"
#include "manager/watch.hpp"

namespace goldlink::manager {

struct HealthReport {
    std::string database, registry, target, pxe;  // "ok", or what is wrong
    PeerResult<std::string> target_status, pxe_status;
    std::vector<Finding> problems;
    bool is_degraded() const;
    bool is_outage() const;
};

class Health {
  public:
    static constexpr std::chrono::milliseconds kWait{2000};

    // pxe null: this manager has none. All outlive it.
    Health(db::Pool& pool, const Watch& watch, const Peer& target, TargetStatus& target_status,
           const Peer* pxe);

    HealthReport report();

  private:
    using Clock = std::chrono::steady_clock;
    struct DatabaseSaid {
        db::RegistryIdentity registry;
        db::LinkTrouble links;
        db::LeaderBeat leader;
    };
    Result<DatabaseSaid> ask_database();
    // What it said, if it did; else why not is in the report.
    std::optional<DatabaseSaid> add_database(HealthReport& report, Clock::time_point entered);

    db::Pool& pool_;
    const Watch& watch_;
    Probe<Result<DatabaseSaid>> database_;
    Probe<PeerResult<std::string>> target_;
    std::optional<Probe<PeerResult<std::string>>> pxe_;
};

}  // namespace goldlink::manager
