#include "manager/target_status.hpp"

#include "common/json.hpp"

namespace goldlink::manager {
namespace {

std::vector<std::string> portals_of(const std::string& status) {
    std::vector<std::string> found;
    const auto object = json::parse_object(status);
    if (!object) return found;
    const auto portals = json::array_field(*object, "portals", 256);
    if (!portals) return found;
    for (const json::value& portal : *portals)
        if (portal.is_string()) found.emplace_back(portal.as_string());
    return found;
}

}  // namespace

PeerResult<std::string> TargetStatus::get() {
    const auto entered = std::chrono::steady_clock::now();
    const std::lock_guard asking(asking_);
    // A failure is shared by those who waited for it, and by nobody after: it may be over.
    constexpr std::chrono::milliseconds kGoodFor{1000};
    if (answer_ && (*answer_ ? entered - asked_ < kGoodFor : asked_ >= entered)) return *answer_;
    auto answer = target_.call("GET", "/status", "", std::chrono::seconds(3));
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
    asked_ = std::chrono::steady_clock::now();
    if (*answer_)
        if (auto portals = portals_of(**answer_); !portals.empty()) portals_ = std::move(portals);
    return *answer_;
}

std::optional<std::string> TargetStatus::portal(const std::string& local) {
    // Portals change only with a restart of the target: half a minute's old answer will do.
    constexpr std::chrono::seconds kFresh{30};
    std::unique_lock lock(mutex_);
    const bool fresh = answer_ && *answer_ && std::chrono::steady_clock::now() - asked_ < kFresh;
    lock.unlock();
    if (!fresh) get();
    return known_portal(local);
}

std::optional<std::string> TargetStatus::known_portal(const std::string& local) {
    const std::lock_guard lock(mutex_);
    return reachable_portal(portals_, local);
}

std::optional<std::string> reachable_portal(const std::vector<std::string>& portals,
                                            const std::string& local) {
    if (portals.empty()) return std::nullopt;
    const std::size_t local_colon = local.rfind(':');
    const std::string here =
        local_colon == std::string::npos ? "127.0.0.1" : local.substr(0, local_colon);
    const std::string wildcard = here.starts_with('[') ? "[::]:" : "0.0.0.0:";
    for (const std::string& portal : portals) {
        if (portal.starts_with(wildcard)) return here + portal.substr(portal.rfind(':'));
        if (!portal.starts_with("0.0.0.0:") && !portal.starts_with("[::]:")) return portal;
    }
    // On all addresses of the other family alone, and which those are is not known here.
    const std::string& first = portals.front();
    return (first.starts_with('[') ? "[::1]" : "127.0.0.1") + first.substr(first.rfind(':'));
}

}  // namespace goldlink::manager
