// What a machine gets that asks for its script: looks it up, asks the target for the next
// generation, renders the script, records what happened. Threads: any (HTTP connections, many at
// once).
#pragma once

#include <optional>
#include <string>

#include "pxe/boots.hpp"
#include "pxe/events.hpp"
#include "pxe/ipv4.hpp"
#include "pxe/metrics.hpp"
#include "pxe/script.hpp"
#include "pxe/table_store.hpp"
#include "pxe/target_client.hpp"

namespace goldlink::pxe {

// The parts every service shares; all outlive the services.
struct BootState {
    TableStore& tables;
    Boots& boots;
    BootEvents& events;
    Metrics& metrics;
};

struct ScriptQuery {
    Mac mac;
    std::string uuid;          // "" or a UUID
    std::string architecture;  // "" or a name of the architecture table
    Ipv4 client;               // where the request came from
    Ipv4 local;                // ours that it reached; empty on a unix socket
    std::uint16_t local_port = 0;
    unsigned try_number = 1;
    bool register_it = false;  // chosen in the menu of policy `ask`
};

class ScriptService {
  public:
    ScriptService(BootState state, const TargetClient& target) : state_(state), target_(target) {}

    std::string script(const ScriptQuery& query);
    // iPXE reports that it could not start the disk.
    void failed(const Mac& mac, std::string_view stage, std::string_view error, Ipv4 client);

  private:
    std::string for_unknown(const ScriptQuery& query, const ScriptFrame& frame,
                            const BootTable& table, BootEvent event);
    std::string for_link(const ScriptQuery& query, const ScriptFrame& frame,
                         const TableClient& client, BootEvent event);
    std::string trouble(const ScriptFrame& frame, BootEvent event, const std::string& what,
                        const std::string& why);

    BootState state_;
    const TargetClient& target_;
};

}  // namespace goldlink::pxe
