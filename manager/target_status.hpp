// What the target last said of itself, asked at most once a second however many callers there are.
// Threads: any; callers wait for one another, not for more than one call's time limit.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "manager/peer.hpp"

namespace goldlink::manager {

class TargetStatus {
  public:
    explicit TargetStatus(const Peer& target) : target_(target) {}

    // GET /status, as JSON text.
    PeerResult<std::string> get();
    // The portal's "address:port" as initiators reach it; a portal on all addresses is named by
    // `local`, the address the caller itself was reached at. nullopt: the target never answered
    // yet.
    std::optional<std::string> portal(const std::string& local);

  private:
    const Peer& target_;
    std::mutex mutex_;
    std::optional<PeerResult<std::string>> answer_;
    std::chrono::steady_clock::time_point asked_{};
    std::optional<std::string> portal_;
};

}  // namespace goldlink::manager
