// Which machine has an address, from the kernel's ARP table: whoever just exchanged packets with us
// over the local network is in it. Threads: any.
#pragma once

#include <optional>
#include <string_view>

#include "common/mac.hpp"
#include "pxe/ipv4.hpp"

namespace goldlink::pxe {

std::optional<Mac> neighbour(Ipv4 address);
// The same in a text like /proc/net/arp.
std::optional<Mac> find_neighbour(std::string_view arp_table, Ipv4 address);

}  // namespace goldlink::pxe
