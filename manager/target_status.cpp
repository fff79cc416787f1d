#include "manager/target_status.hpp"

#include "common/json.hpp"

namespace goldlink::manager {
namespace {

std::optional<std::string> first_portal(const std::string& status) {
    const auto object = json::parse_object(status);
    if (!object) return std::nullopt;
    const auto portals = json::array_field(*object, "portals", 256);
    if (!portals || portals->empty() || !portals->front().is_string()) return std::nullopt;
    return std::string(portals->front().as_string());
}

}  // namespace

PeerResult<std::string> TargetStatus::get() {
    const auto entered = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    // A failure is shared by those who waited for it, and by nobody after: it may be over.
    constexpr std::chrono::milliseconds kGoodFor{1000};
    if (answer_ && (*answer_ ? entered - asked_ < kGoodFor : asked_ >= entered)) return *answer_;
    answer_ = target_.call("GET", "/status", "", std::chrono::seconds(3));
    asked_ = std::chrono::steady_clock::now();
    if (*answer_)
        if (auto portal = first_portal(**answer_)) portal_ = std::move(portal);
    return *answer_;
}

std::optional<std::string> TargetStatus::portal(const std::string& local) {
    // Portals change only with a restart of the target: half a minute's old answer will do.
    constexpr std::chrono::seconds kFresh{30};
    std::unique_lock lock(mutex_);
    const bool fresh = answer_ && *answer_ && std::chrono::steady_clock::now() - asked_ < kFresh;
    lock.unlock();
    if (!fresh) get();
    lock.lock();
    if (!portal_) return std::nullopt;
    const std::size_t colon = portal_->rfind(':');
    const std::string host = portal_->substr(0, colon);
    if (host != "0.0.0.0" && host != "[::]") return portal_;
    const std::size_t local_colon = local.rfind(':');
    const std::string local_host =
        local_colon == std::string::npos ? "127.0.0.1" : local.substr(0, local_colon);
    return local_host + portal_->substr(colon);
}

}  // namespace goldlink::manager
