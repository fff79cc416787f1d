// What to answer a DHCP request: recv -> validate -> decide -> send, and this is the third. Pure
// and table-tested: the same packet, site and boot table always give the same decision.
//
// As ProxyDHCP we stand beside the site's own server: it gives the address, we give the boot file,
// and we say nothing to machines that do not ask to boot. With an AddressAnswer from a lease pool
// the same reply also carries the address.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "pxe/firmware.hpp"
#include "pxe/ipv4.hpp"
#include "pxe/packet.hpp"
#include "pxe/table.hpp"

namespace goldlink::pxe {

inline constexpr std::uint16_t kServerPort = 67;
inline constexpr std::uint16_t kClientPort = 68;
inline constexpr std::uint16_t kBootServerPort = 4011;  // PXE 2.1's boot server port

using FileNames = std::set<std::string, std::less<>>;

// Where the packet came in, and what this host has there.
struct Site {
    Ipv4 address;  // ours on the interface the packet came in on
    std::uint16_t http_port = 0;
    FileNames boot_files;  // what TFTP and HTTP serve now
};

struct Arrival {
    std::uint16_t port = kServerPort;  // ours: kServerPort or kBootServerPort
    Endpoint source;
};

// What the lease pool says.
struct AddressAnswer {
    enum class Kind : std::uint8_t {
        none,  // there is no pool: ProxyDHCP
        offer,
        ack,
        nak,
        silent,       // no answer at all, a boot file included: `why` is for the debug log
        unavailable,  // likewise, and a fault: `why` is for the admin
    };
    Kind kind = Kind::none;
    Ipv4 address;  // empty in the answer to INFORM
    Ipv4 netmask;
    Ipv4 router;
    std::vector<Ipv4> dns_servers;
    std::uint32_t lease_seconds = 0;
    std::string why;         // of a nak, a silence, a fault
    std::string to_do = {};  // of a fault
    // Of an offer: look first whether somebody else answers at the address (RFC 2131 section 2.2).
    bool probe = false;
};

struct Decision {
    enum class Kind : std::uint8_t {
        reply,
        ignore,  // not for us: `why` is for the debug log
        refuse,  // asks to boot and cannot: `why` is for the admin. May carry a reply all the same
                 // when an address was asked for too
    };
    Kind kind = Kind::ignore;
    Client client;
    Packet reply;  // type none: nothing to send
    Endpoint destination;
    std::string boot_file;  // what the reply makes it load; "" when it has no boot file
    std::string why;
};

Decision decide(const Packet& request, const Arrival& arrival, const Site& site,
                const BootTable& table, const AddressAnswer& address = {});

// "http://10.0.0.1:8081", or what the settings say.
std::string http_base(const TableSettings& settings, Ipv4 address, std::uint16_t http_port);

}  // namespace goldlink::pxe
