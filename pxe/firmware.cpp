#include "pxe/firmware.hpp"

#include <fmt/format.h>

#include <charconv>
#include <vector>

#include "common/hex.hpp"

namespace goldlink::pxe {

namespace {

// snponly.efi drives the NIC through the firmware that just loaded it, so it works where ipxe.efi
// lacks the driver, and it is small enough for every NIC's loader.
constexpr Architecture kArchitectures[] = {
    {0, "bios", "undionly.kpxe", false},
    {6, "uefi-ia32", "snponly-ia32.efi", false},
    {7, "uefi-x64", "snponly.efi", false},
    {9, "uefi-x64", "snponly.efi", false},
    {10, "uefi-arm32", "snponly-arm32.efi", false},
    {11, "uefi-arm64", "snponly-arm64.efi", false},
    {15, "uefi-ia32-http", "snponly-ia32.efi", true},
    {16, "uefi-x64-http", "snponly.efi", true},
    {18, "uefi-arm32-http", "snponly-arm32.efi", true},
    {19, "uefi-arm64-http", "snponly-arm64.efi", true},
};

// RFC 3004 makes option 77 a list of counted strings; iPXE sends its name bare.
bool is_ipxe(const Packet& request) {
    const std::string_view user_class = request.options.text(option::kUserClass);
    if (user_class == "iPXE") return true;
    for (std::string_view rest = user_class; !rest.empty();) {
        const std::size_t length = static_cast<std::uint8_t>(rest[0]);
        if (length >= rest.size()) break;
        if (rest.substr(1, length) == "iPXE") return true;
        rest.remove_prefix(1 + length);
    }
    // A build with another user class still sends its list of features in option 175.
    const auto* encapsulated = request.options.find(option::kIpxeEncapsulated);
    if (encapsulated == nullptr || encapsulated->empty()) return false;
    const auto features = parse_options(*encapsulated);
    return features.has_value() && !features->entries().empty();
}

// The first three fields are little endian in SMBIOS, which is what option 97 carries.
std::string machine_uuid(const Packet& request) {
    const auto* data = request.options.find(option::kClientMachineId);
    if (data == nullptr || data->size() != 17 || (*data)[0] != 0) return "";
    const std::uint8_t* u = data->data() + 1;
    const std::uint8_t ordered[16] = {u[3], u[2], u[1],  u[0],  u[5],  u[4],  u[7],  u[6],
                                      u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]};
    const std::string hex = to_hex(ordered);
    return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                       hex.substr(16, 4), hex.substr(20));
}

// Option 93 is a list (RFC 4578 section 2.1), the preferred one first. Firmware that leaves it out,
// or cuts it, has the same number in its vendor class: "PXEClient:Arch:00007:UNDI:003016". An old
// BIOS ROM has neither, and 0 is what it is.
std::vector<std::uint16_t> architecture_codes(const Packet& request) {
    std::vector<std::uint16_t> codes;
    if (const auto* data = request.options.find(option::kClientArchitecture))
        for (std::size_t at = 0; at + 2 <= data->size(); at += 2)
            codes.push_back(load_be16(data->data() + at));
    if (!codes.empty()) return codes;
    const std::string_view vendor_class = request.options.text(option::kVendorClass);
    constexpr std::string_view kMark = ":Arch:";
    std::uint16_t code = 0;
    if (const auto at = vendor_class.find(kMark); at != std::string_view::npos) {
        const std::string_view digits = vendor_class.substr(at + kMark.size(), 5);
        if (std::from_chars(digits.data(), digits.data() + digits.size(), code).ec != std::errc{})
            code = 0;
    }
    return {code};
}

}  // namespace

const Architecture* find_architecture(std::uint16_t code) {
    for (const Architecture& row : kArchitectures)
        if (row.code == code) return &row;
    return nullptr;
}

const Architecture* find_architecture(std::string_view name) {
    for (const Architecture& row : kArchitectures)
        if (row.name == name) return &row;
    return nullptr;
}

std::string Client::architecture_name() const {
    return architecture != nullptr ? std::string(architecture->name)
                                   : fmt::format("arch-{}", architecture_code);
}

Client identify(const Packet& request) {
    Client client;
    client.uuid = machine_uuid(request);
    const std::string_view vendor_class = request.options.text(option::kVendorClass);
    if (is_ipxe(request))
        client.kind = ClientKind::ipxe;
    else if (vendor_class.starts_with("HTTPClient"))
        client.kind = ClientKind::http_boot;
    else if (vendor_class.starts_with("PXEClient"))
        client.kind = ClientKind::firmware;

    const auto codes = architecture_codes(request);
    client.architecture_code = codes.front();
    client.architecture = find_architecture(codes.front());
    // The first that a boot program is known for, by the protocol that this machine speaks.
    for (const std::uint16_t code : codes) {
        const Architecture* known = find_architecture(code);
        if (known == nullptr || known->http != (client.kind == ClientKind::http_boot)) continue;
        client.architecture_code = code;
        client.architecture = known;
        break;
    }
    return client;
}

}  // namespace goldlink::pxe
