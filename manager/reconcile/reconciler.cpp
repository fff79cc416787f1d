#include "manager/reconcile/reconciler.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/log.hpp"
#include "manager/db/history.hpp"
#include "manager/db/links.hpp"
#include "manager/db/tokens.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kJobsEvery{1};
constexpr seconds kTidyEvery{30};
constexpr seconds kAskForLead{2};

// What the last stage of a boot that stands still tells.
std::string stuck_problem(const std::string& last_stage) {
    if (last_stage == "login")
        return "iPXE logged in, but the operating system never did: its iSCSI start or network "
               "driver is missing";
    if (last_stage == "nbp" || last_stage == "ipxe")
        return "iPXE was loaded, but asked for no script";
    if (last_stage == "dhcp")
        return "the boot file was offered, but never fetched: TFTP blocked, or another server won";
    if (last_stage == "script") return "the script was sent, but iPXE never logged in to its disk";
    return "it made no step for ten minutes";
}

}  // namespace

Reconciler::Reconciler(Services& services)
    : services_(services),
      links_(services),
      pins_(services),
      pxe_(services),
      tasks_(services),
      target_events_(services, services.target, leading_) {
    if (services.pxe != nullptr) pxe_events_.emplace(services, *services.pxe, leading_);
}

Reconciler::~Reconciler() { join(); }

void Reconciler::start() {
    thread_ = std::thread([this] { run(); });
    target_events_.start();
    if (pxe_events_) pxe_events_->start();
}

void Reconciler::join() {
    if (thread_.joinable()) thread_.join();
    target_events_.join();
    if (pxe_events_) pxe_events_->join();
}

void Reconciler::run() {
    Watch& watch = services_.watch;
    while (!watch.stopping()) {
        const std::uint64_t seen = watch.count(Topic::work);
        if (!watch.problem()) {
            const auto ended = lead();
            leading_ = false;
            if (!ended && !watch.problem())
                log::warn("reconciling stopped: {}; trying again", ended.error().message);
        }
        watch.wait(Topic::work, seen, kAskForLead);
    }
}

Result<> Reconciler::lead() {
    GOLDLINK_TRY_ASSIGN(db::Connection connection, db::Connection::open(services_.pool.url()));
    GOLDLINK_TRY_ASSIGN(const auto locked,
                        connection.query("SELECT pg_try_advisory_lock(7105, 3)"));
    if (!locked[0].boolean(0)) return {};
    log::info("this manager reconciles");
    leading_ = true;
    links_.forget();
    pins_.forget();
    pxe_.forget();
    Watch& watch = services_.watch;
    while (!watch.stopping()) {
        const std::uint64_t seen = watch.count(Topic::work);
        GOLDLINK_TRY(tasks_.round(connection));
        GOLDLINK_TRY(links_.round(connection));
        GOLDLINK_TRY(pins_.round(connection));
        GOLDLINK_TRY(pxe_.round(connection));
        GOLDLINK_TRY(housekeeping(connection));
        const auto next = std::min(
            {links_.next_try(), pins_.next_try(), pxe_.next_try(), tasks_.next_try(), next_jobs_});
        const auto pause = std::chrono::duration_cast<milliseconds>(next - Clock::now());
        watch.wait(Topic::work, seen,
                   std::clamp(pause, milliseconds(10), milliseconds(seconds(1))));
    }
    return {};
}

Result<> Reconciler::housekeeping(db::Connection& c) {
    if (Clock::now() < next_jobs_) return {};
    next_jobs_ = Clock::now() + kJobsEvery;
    const auto expiry = db::Pool::in_transaction(c, [](db::Connection& t) -> Result<> {
        GOLDLINK_TRY_ASSIGN(const auto expired, db::delete_expired_leases(t));
        for (const std::string& id : expired) {
            log::info("lease {} has run out", id);
            GOLDLINK_TRY(db::add_event(t, {{}, "lease_expired", {}, id, {}, "{}"}));
        }
        return {};
    });
    if (!expiry) return expiry;
    if (Clock::now() < next_tidy_) return {};
    next_tidy_ = Clock::now() + kTidyEvery;
    GOLDLINK_TRY_ASSIGN(const auto stuck, db::stuck_boots(c));
    for (const db::StuckBoot& boot : stuck)
        GOLDLINK_TRY(db::end_boot_now(c, boot.id, stuck_problem(boot.last_stage)));
    GOLDLINK_TRY(db::forget_old_keys(c));
    return db::forget_old_history(c);
}

}  // namespace goldlink::manager
