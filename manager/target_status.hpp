// What the target last said of itself, asked at most once a second however many callers there are.
// Threads: any; callers wait for one another, not for more than one call's time limit.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "manager/peer.hpp"

namespace goldlink::manager {

// The one of a target's portals that a caller who was reached at `local` can tell initiators: one
// on all addresses becomes `local`'s. nullopt: there is none.
std::optional<std::string> reachable_portal(const std::vector<std::string>& portals,
                                            const std::string& local);

class TargetStatus {
  public:
    explicit TargetStatus(const Peer& target) : target_(target) {}

    // GET /status, as JSON text.
    PeerResult<std::string> get();
    // The portal's "address:port" as initiators reach it; a portal on all addresses is named by
    // `local`, the address the caller itself was reached at. nullopt: the target never answered
    // yet.
    std::optional<std::string> portal(const std::string& local);
    // The same from what it said last, without asking.
    std::optional<std::string> known_portal(const std::string& local);

  private:
    const Peer& target_;
    std::mutex asking_;  // held while it is asked; taken before mutex_
    std::mutex mutex_;
    std::optional<PeerResult<std::string>> answer_;
    std::chrono::steady_clock::time_point asked_{};
    std::vector<std::string> portals_;
};

}  // namespace goldlink::manager
