// The background of the manager: one thread that makes target and pxe match the registry, woken by
// NOTIFY and by time, and two that collect the daemons' events.
//
// Several managers may run on one database: an advisory lock, held by this thread's connection,
// elects the one whose reconciler and collectors work. A lost connection is lost leadership.
#pragma once

#include <atomic>
#include <thread>

#include "manager/reconcile/collector.hpp"
#include "manager/reconcile/link_sync.hpp"
#include "manager/reconcile/pin_sync.hpp"
#include "manager/reconcile/pxe_sync.hpp"
#include "manager/reconcile/task_sync.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class Reconciler {
  public:
    explicit Reconciler(Services& services);
    ~Reconciler();
    void start();
    void join();  // after Watch::stop

  private:
    using Clock = std::chrono::steady_clock;
    void run();
    Result<> lead();  // until the connection is lost, the lock is another's, or the stop
    Result<> housekeeping(db::Connection& c);

    Services& services_;
    std::atomic<bool> leading_{false};
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
