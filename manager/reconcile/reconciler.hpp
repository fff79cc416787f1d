// The background of the manager: one thread that makes target and pxe match the registry, woken by
// NOTIFY and by time, and two that collect the daemons' events.
//
// Several managers may run on one database: Leadership elects the one whose reconciler and
// collectors work. Whose lead is over calls neither target nor pxe again (the peers here ask), and
// its database session is ended by the next leader, so it notes nothing either.
#pragma once

#include <atomic>
#include <thread>

#include "manager/reconcile/collector.hpp"
#include "manager/reconcile/leadership.hpp"
#include "manager/reconcile/link_sync.hpp"
#include "manager/reconcile/pin_sync.hpp"
#include "manager/reconcile/pxe_sync.hpp"
#include "manager/reconcile/registry_gate.hpp"
#include "manager/reconcile/task_sync.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class Reconciler {
  public:
    // `adopt`: what GET /registry would ask a person is answered already, once.
    Reconciler(Services& services, bool adopt);
    ~Reconciler();
    void start();
    void join();  // after Watch::stop

  private:
    using Clock = std::chrono::steady_clock;
    void run();
    Result<> lead(std::int64_t term);  // until the lead is over, the connection lost, or the stop
    Result<> push(db::Connection& c);  // one round of all that follows the registry
    Result<> hold_back(db::Connection& c);  // instead, while the target does not take the registry
    Result<> housekeeping(db::Connection& c);

    Leadership leadership_;
    std::atomic<std::int64_t> term_{0};  // that this thread works in
    const Peer target_;                  // only while that term lasts
    const Peer pxe_peer_;
    Services services_;  // with these
    bool adopt_;
    std::atomic<bool> leading_{false};
    RegistryGate gate_;
    LinkSync links_;
    PinSync pins_;
    PxeSync pxe_;
    TaskSync tasks_;
    Collector target_events_;
    std::optional<Collector> pxe_events_;
    Clock::time_point next_jobs_{};
    Clock::time_point next_tidy_{};
    std::thread thread_;
};

}  // namespace goldlink::manager
