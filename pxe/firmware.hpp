// What asks: which firmware (option 93, RFC 4578 and the IANA list after it), whether it boots by
// PXE or HTTP, whether it is iPXE already, and which boot program (NBP) it can run. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pxe/packet.hpp"

namespace goldlink::pxe {

struct Architecture {
    std::uint16_t code;
    std::string_view name;  // as it appears in events and in the script's URL
    // The NBP this firmware runs. Debian's `ipxe` package has those of BIOS and x86-64; the others
    // are served once an admin puts them into the boot files folder.
    std::string_view boot_file;
    bool http;  // UEFI HTTP boot: takes a URL, not a TFTP name
};

// nullptr for a code that is not in the table.
const Architecture* find_architecture(std::uint16_t code);
const Architecture* find_architecture(std::string_view name);

enum class ClientKind : std::uint8_t {
    other,      // an operating system, a phone: DHCP only
    firmware,   // PXE firmware of BIOS or UEFI
    http_boot,  // UEFI HTTP boot
    ipxe,       // our NBP, or an iPXE in the NIC's ROM
};

struct Client {
    ClientKind kind = ClientKind::other;
    std::uint16_t architecture_code = 0;
    const Architecture* architecture = nullptr;
    std::string uuid;  // "" when the client sent none

    std::string architecture_name() const;  // "bios", or "arch-37" for an unknown code
};

// Reads options 60, 77, 93, 97 and 175.
Client identify(const Packet& request);

}  // namespace goldlink::pxe
