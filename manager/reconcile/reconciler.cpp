#include "manager/reconcile/reconciler.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/log.hpp"
#include "manager/db/history.hpp"
#include "manager/db/leadership.hpp"
#include "manager/db/links.hpp"
#include "manager/db/tokens.hpp"
#include "manager/registry_problem.hpp"

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

Reconciler::Reconciler(Services& services, bool adopt)
    : leadership_(services.pool, services.watch),
      target_(services.target.name(), services.target.address(),
              [this] { return leadership_.holds(term_); }),
      pxe_peer_("pxe", services.pxe == nullptr ? "" : services.pxe->address(),
                [this] { return leadership_.holds(term_); }),
      services_{services.pool,    services.watch,
                target_,          services.target_status,
                services.health,  services.pxe == nullptr ? nullptr : &pxe_peer_,
                services.web_dir, services.wake_address},
      adopt_(adopt),
      gate_(services_),
      links_(services_),
      pins_(services_),
      pxe_(services_),
      tasks_(services_),
      target_events_(services_, services_.target, leading_) {
    if (services_.pxe != nullptr) pxe_events_.emplace(services_, *services_.pxe, leading_);
}

Reconciler::~Reconciler() { join(); }

void Reconciler::start() {
    leadership_.start();
    thread_ = std::thread([this] { run(); });
    target_events_.start();
    if (pxe_events_) pxe_events_->start();
}

void Reconciler::join() {
    if (thread_.joinable()) thread_.join();
    target_events_.join();
    if (pxe_events_) pxe_events_->join();
    leadership_.stop();
}

void Reconciler::run() {
    Watch& watch = services_.watch;
    while (!watch.stopping()) {
        const std::uint64_t seen = watch.count(Topic::work);
        if (const auto term = leadership_.term(); term && !watch.problem()) {
            const auto ended = lead(*term);
            leading_ = false;
            if (!ended && !watch.problem())
                log::warn("reconciling stopped: {}; trying again", ended.error().message);
        }
        watch.wait(Topic::work, seen, kAskForLead);
    }
}

Result<> Reconciler::lead(std::int64_t term) {
    GOLDLINK_TRY_ASSIGN(db::Connection connection, services_.pool.connect());
    GOLDLINK_TRY(db::lock_work(connection));
    GOLDLINK_TRY_ASSIGN(const bool mine, db::is_term(connection, term));
    if (!mine) return {};
    term_ = term;
    log::info("this manager reconciles (term {})", term);
    if (adopt_) GOLDLINK_TRY(db::request_adoption(connection, true));
    adopt_ = false;
    leading_ = true;
    gate_.forget();
    links_.forget();
    pins_.forget();
    pxe_.forget();
    Watch& watch = services_.watch;
    while (!watch.stopping() && leadership_.holds(term)) {
        const std::uint64_t seen = watch.count(Topic::work);
        GOLDLINK_TRY_ASSIGN(const bool still_mine, db::is_term(connection, term));
        if (!still_mine) return {};
        GOLDLINK_TRY_ASSIGN(const bool open, gate_.open(connection));
        if (!open && gate_.is_elsewhere()) {
            leadership_.resign();  // its own server's manager is to lead
            return {};
        }
        GOLDLINK_TRY(open ? push(connection) : hold_back(connection));
        GOLDLINK_TRY(housekeeping(connection));
        auto next = std::min(gate_.next_try(), next_jobs_);
        if (open)
            next = std::min(
                {next, links_.next_try(), pins_.next_try(), pxe_.next_try(), tasks_.next_try()});
        const auto pause = std::chrono::duration_cast<milliseconds>(next - Clock::now());
        watch.wait(Topic::work, seen,
                   std::clamp(pause, milliseconds(10), milliseconds(seconds(1))));
    }
    return {};
}

Result<> Reconciler::push(db::Connection& c) {
    if (gate_.take_adopted()) links_.forget();
    GOLDLINK_TRY(tasks_.round(c));
    bool in_doubt = false;
    GOLDLINK_TRY(links_.round(c, in_doubt));
    if (in_doubt) {
        gate_.doubt();
        return {};
    }
    GOLDLINK_TRY(pins_.round(c));
    return pxe_.round(c);
}

Result<> Reconciler::hold_back(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const auto identity, db::registry_identity(c));
    const std::string problem = registry_problem(identity.match);
    if (problem.empty())
        return links_.hold_back(
            c, "the target does not answer; the link is kept and served when it is back");
    GOLDLINK_TRY(db::note_waiting_tasks(c, problem));
    return links_.hold_back(c, problem);
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
