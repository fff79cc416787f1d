#include "manager/reconcile/collector.hpp"

#include <fmt/format.h>

#include "common/log.hpp"
#include "manager/db/history.hpp"
#include "manager/reconcile/boot_history.hpp"
#include "manager/reconcile/event_page.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::milliseconds;

// Short, because a long poll in progress delays the manager's own end.
constexpr int kPollSeconds = 2;
constexpr milliseconds kPause{1000};

// One event that cannot be stored must not hold up those behind it.
Result<> record_or_skip(db::Connection& c, const SourceEvent& event) {
    GOLDLINK_TRY(c.query("SAVEPOINT one_event"));
    const auto recorded = record_event(c, event);
    if (recorded) {
        GOLDLINK_TRY(c.query("RELEASE SAVEPOINT one_event"));
        return {};
    }
    if (c.broken() || c.may_retry()) return recorded;
    log::warn("event {} ({}) is left out: {}", event.seq, event.kind, recorded.error().message);
    GOLDLINK_TRY(c.query("ROLLBACK TO SAVEPOINT one_event"));
    return {};
}

}  // namespace

Collector::Collector(Services& services, const Peer& source, const std::atomic<bool>& leading)
    : services_(services), source_(source), leading_(leading) {}

Collector::~Collector() { join(); }

void Collector::start() {
    thread_ = std::thread([this] { run(); });
}

void Collector::join() {
    if (thread_.joinable()) thread_.join();
}

void Collector::run() {
    Watch& watch = services_.watch;
    while (!watch.stopping()) {
        const std::uint64_t seen = watch.count(Topic::registry);
        const milliseconds pause = leading_ && !watch.problem() ? round() : kPause;
        if (pause.count() > 0) watch.wait(Topic::registry, seen, pause);
    }
}

milliseconds Collector::round() {
    const auto cursor =
        services_.pool.run([&](db::Connection& c) { return db::event_cursor(c, source_.name()); });
    if (!cursor) return kPause;
    const auto answer =
        source_.call("GET", fmt::format("/events?after={}&wait_seconds={}", *cursor, kPollSeconds),
                     "", std::chrono::seconds(kPollSeconds + 10));
    if (!answer) return kPause;  // the reconciler and /health say that it is away
    const auto page = parse_event_page(*answer);
    if (!page) {
        log::warn("the {} gave no page of events: {}", source_.name(), page.error().message);
        return kPause;
    }
    for (const std::string& why : page->left_out)
        log::warn("an event of the {} is left out: {}", source_.name(), why);
    if (page->next == *cursor && page->events.empty()) return milliseconds(0);
    if (page->next < *cursor)
        log::warn("the {} has lost its event log; reading it from the start", source_.name());
    const auto stored = services_.pool.transact([&](db::Connection& c) -> Result<bool> {
        // Both sources touch the same boots: one page at a time, or the two wait for each other's
        // rows.
        GOLDLINK_TRY(c.query("SELECT pg_advisory_xact_lock(7105, 4)"));
        GOLDLINK_TRY_ASSIGN(const bool mine,
                            db::move_event_cursor(c, source_.name(), *cursor, page->next));
        if (!mine) return false;  // another manager leads by now and was faster
        for (const SourceEvent& event : page->events) GOLDLINK_TRY(record_or_skip(c, event));
        return true;
    });
    return stored ? milliseconds(0) : kPause;
}

}  // namespace goldlink::manager
