#include "target/control/store_health.hpp"

#include <pthread.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>

#include "common/log.hpp"

namespace goldlink::control {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookEvery{500};
constexpr std::chrono::seconds kRecheckEvery{60};
// Never verified yet: not while it is being imported, promoted and booted for the first time.
constexpr std::chrono::hours kFirstVerification{1};
constexpr std::chrono::milliseconds kSampleEvery{100};
constexpr std::uint64_t kBusyBytes = 1 << 20;  // in that time

}  // namespace

StoreHealth::StoreHealth(store::ImageStore& store, LinkTable& links, EventLog& events,
                         Options options)
    : store_(store),
      links_(links),
      events_(events),
      options_(options),
      overlays_(links, events, options.verify_every) {}

StoreHealth::~StoreHealth() { stop(); }

void StoreHealth::start(std::function<std::uint64_t()> traffic_bytes) {
    traffic_bytes_ = std::move(traffic_bytes);
    thread_ = std::thread([this] { run(); });
}

void StoreHealth::stop() {
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(stopping_, true)) return;
        progress_.cancel = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void StoreHealth::run() {
    pthread_setname_np(pthread_self(), "store-health");
    const auto schedule_every =
        std::clamp(std::chrono::duration_cast<Clock::duration>(options_.verify_every / 4),
                   Clock::duration(kLookEvery), Clock::duration(kRecheckEvery));
    auto next_recheck = Clock::now(), next_verify = Clock::now();
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        if (Clock::now() >= next_recheck) {
            recheck();
            links_.trash().remove_expired();
            next_recheck = Clock::now() + kRecheckEvery;
        }
        tell_changes();
        if (options_.verify_every.count() > 0 && Clock::now() >= next_verify) {
            verify_one();
            // As long as nothing else is due.
            const bool more = overlays_.compare_one([&](std::uint64_t bytes) {
                keep_pace(bytes);
                return !progress_.cancel && Clock::now() < next_recheck;
            });
            next_verify = more ? Clock::now() : Clock::now() + schedule_every;
        }
        lock.lock();
        changed_.wait_for(lock, kLookEvery, [this] { return stopping_; });
    }
}

void StoreHealth::recheck() {
    const auto looked = store_.recheck_bad_chunks(progress_);
    if (!looked && looked.error().kind != ErrorKind::cancelled)
        log::error("the image store's bad chunks are not looked at again: {}",
                   looked.error().message);
}

// The version that has waited longest, if its time has come. One that was never verified waits from
// when it was first seen, as does one that could not be.
std::string StoreHealth::due() {
    const auto versions = store_.list();
    if (!versions) return {};
    const auto now = Clock::now();
    const std::int64_t every_s =
        std::chrono::duration_cast<std::chrono::seconds>(options_.verify_every).count();
    const auto first_wait = std::min<Clock::duration>(options_.verify_every, kFirstVerification);
    std::map<std::string, Clock::time_point> waiting;
    std::string chosen;
    std::int64_t oldest = INT64_MAX;
    for (const store::VersionInfo& version : *versions) {
        const auto known = waiting_.find(version.digest);
        const auto since = known == waiting_.end() ? now : known->second;
        waiting[version.digest] = since;
        if (now - since < first_wait || version.verified_at >= oldest) continue;
        if (version.verified_at != 0 && std::time(nullptr) - version.verified_at < every_s)
            continue;
        oldest = version.verified_at;
        chosen = version.digest;
    }
    waiting_ = std::move(waiting);
    return chosen;
}

void StoreHealth::verify_one() {
    const std::string version = due();
    if (version.empty()) return;
    waiting_[version] = Clock::now();
    const auto findings =
        store_.verify(version, progress_, [this](std::uint64_t bytes) { keep_pace(bytes); });
    if (findings)
        log::info("version {} is verified, {} chunks of it are bad", version, findings->size());
    else if (findings.error().kind != ErrorKind::cancelled)
        log::warn("version {} cannot be verified: {}", version, findings.error().message);
}

// Before each read: so that it is not faster than asked for, and an eighth of that while clients
// move data. Waits no longer than until it is to stop.
void StoreHealth::keep_pace(std::uint64_t bytes) {
    tell_changes();
    const auto now = Clock::now();
    if (now >= next_sample_) {
        const std::uint64_t moved = traffic_bytes_();
        busy_ = moved - seen_traffic_ > kBusyBytes;
        seen_traffic_ = moved;
        next_sample_ = now + kSampleEvery;
    }
    const std::uint64_t rate =
        std::max<std::uint64_t>(options_.verify_bytes_per_second / (busy_ ? 8 : 1), 1);
    next_read_ = std::max(next_read_, now) + std::chrono::microseconds(bytes * 1'000'000 / rate);
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, next_read_, [this] { return stopping_; });
}

void StoreHealth::tell_changes() {
    const std::uint64_t revision = store_.damage_revision();
    if (revision == seen_revision_) return;
    const auto versions = store_.list();
    if (!versions) return;  // the next look
    seen_revision_ = revision;
    std::map<std::string, std::uint64_t> damaged;
    for (const store::VersionInfo& version : *versions) {
        const auto before = damaged_.find(version.digest);
        const bool was = before != damaged_.end();
        if (!version.damage.empty()) {
            damaged[version.digest] = version.bad_bytes;
            if (!was || before->second < version.bad_bytes) tell("image_damaged", version);
        } else if (was) {
            tell("image_mended", version);
        }
    }
    damaged_ = std::move(damaged);
}

void StoreHealth::tell(std::string_view kind, const store::VersionInfo& version) {
    json::array links;
    for (const std::string& id : links_.users_of_version(version.digest)) links.emplace_back(id);
    json::object data{{"version", version.digest}, {"links", std::move(links)}};
    if (!version.damage.empty()) {
        data["bad_bytes"] = version.bad_bytes;
        data["why"] = version.damage;
        log::error("version {} is damaged: {}", version.digest, version.damage);
    } else {
        log::info("version {} is whole again", version.digest);
    }
    events_.append(kind, {{"link_id", nullptr},
                          {"boot_id", nullptr},
                          {"generation", nullptr},
                          {"data", std::move(data)}});
}

}  // namespace goldlink::control
