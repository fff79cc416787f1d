// What REST handlers and background threads share; made by main, outlives them all.
#pragma once

#include <optional>
#include <string>

#include "manager/db/pool.hpp"
#include "manager/known_tokens.hpp"
#include "manager/peer.hpp"
#include "manager/target_status.hpp"
#include "manager/watch.hpp"

namespace goldlink::manager {

class Health;

struct Services {
    db::Pool& pool;
    Watch& watch;
    const Peer& target;
    TargetStatus& target_status;
    Health& health;
    const Peer* pxe = nullptr;  // none: this manager has no pxe
    std::string web_dir;        // "" serves no console
    std::string wake_address;   // "" broadcasts on every interface, else "A.B.C.D:PORT"
    std::string admin_token_file{};
    KnownTokens known_tokens{};
};

}  // namespace goldlink::manager
