// Wake-on-LAN: the magic packet (AMD, 1995) by UDP broadcast. Threads: any.
#pragma once

#include <string>

#include "common/mac.hpp"
#include "common/result.hpp"

namespace goldlink::manager {

// destination: "" sends to the broadcast address of every IPv4 interface that is up, port 9;
// else "A.B.C.D:PORT", for a directed broadcast into another network.
Result<> send_wake_packet(const Mac& mac, const std::string& destination);

}  // namespace goldlink::manager
