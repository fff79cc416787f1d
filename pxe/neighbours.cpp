#include "pxe/neighbours.hpp"

#include <sstream>
#include <string>

#include "common/file.hpp"

namespace goldlink::pxe {

std::optional<Mac> find_neighbour(std::string_view arp_table, Ipv4 address) {
    const std::string wanted = address.to_string();
    std::istringstream lines{std::string(arp_table)};
    std::string line;
    while (std::getline(lines, line)) {
        std::istringstream columns(line);  // IP address, HW type, flags, HW address, mask, device
        std::string ip, type, flags, hardware;
        if (!(columns >> ip >> type >> flags >> hardware) || ip != wanted) continue;
        if (const auto mac = Mac::parse(hardware)) return *mac;
    }
    return std::nullopt;
}

std::optional<Mac> neighbour(Ipv4 address) {
    const auto table = read_file("/proc/net/arp", 4 << 20);
    return table ? find_neighbour(*table, address) : std::nullopt;
}

}  // namespace goldlink::pxe
