#include "manager/reconcile/leadership.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "common/log.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kDatabaseDown{100};  // asks nobody but Watch
constexpr seconds kAskEvery{1};

db::Limits limits() { return {seconds(3), seconds(3)}; }

std::string machine_and_process() {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
    return fmt::format("{}, process {}", host.data(), ::getpid());
}

}  // namespace

Leadership::Leadership(db::Pool& pool, Watch& watch)
    : pool_(pool), watch_(watch), name_(machine_and_process()) {}

Leadership::~Leadership() { stop(); }

void Leadership::start() {
    thread_ = std::thread([this] { run(); });
}

void Leadership::stop() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

std::optional<std::int64_t> Leadership::term() const {
    const std::lock_guard lock(mutex_);
    return Clock::now() < valid_until_ ? term_ : std::nullopt;
}

void Leadership::resign() {
    {
        const std::lock_guard lock(mutex_);
        term_.reset();
        abstain_until_ = Clock::now() + kAbstain;
    }
    changed_.notify_all();
}

bool Leadership::resigned() const {
    const std::lock_guard lock(mutex_);
    return Clock::now() < abstain_until_;
}

void Leadership::set_term(std::optional<std::int64_t> term, Clock::time_point sent) {
    {
        const std::lock_guard lock(mutex_);
        term_ = term;
        valid_until_ = sent + kHolds;
    }
    watch_.touch(Topic::work);  // the reconciler looks
}

bool Leadership::pause(milliseconds time) {
    std::unique_lock lock(mutex_);
    const bool was_abstaining = Clock::now() < abstain_until_;
    changed_.wait_for(
        lock, time, [&] { return ending_ || (!was_abstaining && Clock::now() < abstain_until_); });
    return !ending_;
}

void Leadership::run() {
    do {
        if (watch_.problem() || resigned()) continue;
        const auto ended = campaign();
        if (term()) set_term(std::nullopt, {});
        if (!ended && !watch_.problem() && ended.error().message != said_) {
            said_ = ended.error().message;
            log::warn("this manager cannot lead now: {}; trying again", said_);
        }
    } while (pause(watch_.problem() ? kDatabaseDown : milliseconds(500)));
}

Result<> Leadership::campaign() {
    GOLDLINK_TRY_ASSIGN(db::Connection connection, pool_.connect(limits()));
    GOLDLINK_TRY(db::wait_for_lead(connection));
    seen_ = {};  // nobody need have raised it for us meanwhile
    do {
        GOLDLINK_TRY_ASSIGN(const bool mine, take(connection));
        if (mine) return lead(connection);
    } while (pause(kAskEvery) && !watch_.problem() && !resigned());
    return {};
}

Result<bool> Leadership::take(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const bool locked, db::lock_lead(c));
    if (locked) return true;
    GOLDLINK_TRY_ASSIGN(const auto beat, db::leader_beat(c));
    const auto now = Clock::now();
    if (!beat.is_same_beat(seen_)) {
        seen_ = beat;
        seen_since_ = now;
    }
    if (now - seen_since_ < kSilence) return false;
    seen_since_ = now;
    GOLDLINK_TRY_ASSIGN(const auto ended, db::end_leader(c));
    log::warn(
        "the manager that leads ({}) has given no sign for {} s, though its connection is there; "
        "ended {} of its sessions and taking over",
        beat.holder, kSilence.count(), ended);
    return db::lock_lead(c);  // or at the next try: a session takes a moment to end
}

Result<> Leadership::lead(db::Connection& c) {
    auto sent = Clock::now();
    GOLDLINK_TRY_ASSIGN(const std::int64_t term, db::begin_term(c, name_));
    // Whoever works still, does so in an earlier term.
    GOLDLINK_TRY(db::end_workers(c));
    // A heartbeat that a crash of the server loses is a heartbeat late.
    GOLDLINK_TRY(c.query("SET synchronous_commit = off"));
    said_.clear();
    set_term(term, sent);
    auto beaten = sent;
    while (pause(kBeatEvery) && !resigned()) {
        sent = Clock::now();
        GOLDLINK_TRY_ASSIGN(auto lead, db::look_at_lead(c, term));
        if (lead.is_mine && (lead.has_waiting || sent - beaten >= kBeatAlone)) {
            GOLDLINK_TRY_ASSIGN(lead.is_mine, db::beat(c, term));
            beaten = sent;
        }
        if (!lead.is_mine) {
            log::warn("another manager leads now; this one has stopped");
            return {};
        }
        const std::lock_guard lock(mutex_);
        valid_until_ = sent + kHolds;
    }
    return {};
}

}  // namespace goldlink::manager
