// Asks the target for a machine's next generation: POST /links/{id}/boots of its control API. This
// is what lets a room boot while manager and database are down. Blocking, bounded by
// kTargetTimeout. Threads: any; each call has a connection of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/result.hpp"

namespace goldlink::pxe {

inline constexpr std::chrono::seconds kTargetTimeout{8};

struct TargetBoot {
    std::uint64_t generation = 0;
    std::string iqn;
    std::string portal_host;
    std::uint16_t portal_port = 3260;
    std::uint64_t lun = 0;
    std::string username;
    std::string secret;
};

class TargetClient {
  public:
    // "unix:/path" or "http://host:port"; "" when pxe was given no target.
    explicit TargetClient(std::string address) : address_(std::move(address)) {}

    // Errors: unavailable (no target there), timeout, and what the target answered, in its words.
    Result<TargetBoot> new_boot(const std::string& link_id, const std::string& boot_id,
                                const std::string& initiator) const;
    const std::string& address() const { return address_; }

  private:
    const std::string address_;
};

}  // namespace goldlink::pxe
