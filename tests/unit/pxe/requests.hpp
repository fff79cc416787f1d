// DHCP requests as real firmware sends them, for the tables of these tests.
#pragma once

#include <string_view>

#include "pxe/packet.hpp"

namespace goldlink::pxe::test {

inline constexpr std::uint8_t kMacBytes[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x01};
inline Mac client_mac() { return Mac::parse("52:54:00:00:00:01").value(); }

inline Packet discover() {
    Packet packet;
    packet.op = 1;
    packet.xid = 0x12345678;
    packet.flags = 0x8000;
    std::copy(std::begin(kMacBytes), std::end(kMacBytes), packet.chaddr.begin());
    packet.type = MessageType::discover;
    return packet;
}

inline Packet boot_request(std::string_view vendor_class, std::uint16_t architecture) {
    Packet packet = discover();
    packet.options.add_text(option::kVendorClass, vendor_class);
    const std::uint8_t code[2] = {static_cast<std::uint8_t>(architecture >> 8),
                                  static_cast<std::uint8_t>(architecture)};
    packet.options.append(option::kClientArchitecture, code);
    // Type 0, then the UUID with SMBIOS's little-endian first fields.
    const std::uint8_t uuid[17] = {0,    0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    packet.options.append(option::kClientMachineId, uuid);
    return packet;
}
inline Packet firmware(std::uint16_t architecture) {
    return boot_request("PXEClient:Arch:00000:UNDI:002001", architecture);
}
inline Packet http_firmware(std::uint16_t architecture) {
    return boot_request("HTTPClient:Arch:00016:UNDI:003001", architecture);
}
inline Packet ipxe(std::uint16_t architecture) {
    Packet packet = firmware(architecture);
    packet.options.add_text(option::kUserClass, "iPXE");
    const std::uint8_t features[] = {0xb1, 5, 1, 0x80, 0x86, 0x10, 0x0e, 0x22, 1, 1};
    packet.options.append(option::kIpxeEncapsulated, features);
    return packet;
}

}  // namespace goldlink::pxe::test
