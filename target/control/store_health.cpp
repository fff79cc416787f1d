#include "target/control/store_health.hpp"

#include <pthread.h>

#include <boost/json.hpp>

#include "common/log.hpp"

namespace goldlink::control {
namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds kLookEvery{500};
constexpr std::chrono::seconds kRecheckEvery{60};

}  // namespace

StoreHealth::StoreHealth(store::ImageStore& store, LinkTable& links, EventLog& events)
    : store_(store), links_(links), events_(events) {}

StoreHealth::~StoreHealth() { stop(); }

void StoreHealth::start() {
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
    auto next_recheck = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        if (const auto now = std::chrono::steady_clock::now(); now >= next_recheck) {
            if (auto looked = store_.recheck_bad_chunks(progress_);
                !looked && looked.error().kind != ErrorKind::cancelled)
                log::error("the image store's bad chunks are not looked at again: {}",
                           looked.error().message);
            next_recheck = std::chrono::steady_clock::now() + kRecheckEvery;
        }
        tell_changes();
        lock.lock();
        changed_.wait_for(lock, kLookEvery, [this] { return stopping_; });
    }
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
