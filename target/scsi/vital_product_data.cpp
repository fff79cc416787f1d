// INQUIRY vital product data pages (SPC-4 7.8, SBC-3 6.6): one function a page, in a table.
#include <string>

#include "common/hex.hpp"
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

using Page = void (*)(LogicalUnit& unit, const Task& task, ParameterData& data);

void unit_serial_number(LogicalUnit& unit, const Task&, ParameterData& data) {
    constexpr std::size_t kMaxSerial = 36;
    data.bytes(
        as_bytes(unit.identity.serial).first(std::min(unit.identity.serial.size(), kMaxSerial)));
}

// Designation descriptors (SPC-4 7.8.6).
enum Association : std::uint8_t {
    kOfLogicalUnit = 0x00,
    kOfTargetPort = 0x10,
    kOfTargetDevice = 0x20
};
enum DesignatorType : std::uint8_t {
    kT10VendorId = 0x1,
    kNaa = 0x3,
    kRelativeTargetPort = 0x4,
    kTargetPortGroup = 0x5,
    kScsiNameString = 0x8,
};
enum CodeSet : std::uint8_t { kBinary = 1, kAscii = 2, kUtf8 = 3 };

void designator(ParameterData& data, CodeSet code_set, Association association, DesignatorType type,
                Bytes value) {
    constexpr std::uint8_t kIscsiProtocol = 0x50;
    constexpr std::uint8_t kProtocolValid = 0x80;  // PIV, for ports and devices
    const bool of_unit = association == kOfLogicalUnit;
    data.u8(static_cast<std::uint8_t>((of_unit ? 0 : kIscsiProtocol) | code_set));
    data.u8(static_cast<std::uint8_t>((of_unit ? 0 : kProtocolValid) | association | type));
    data.u8(0);
    data.u8(static_cast<std::uint8_t>(value.size()));
    data.bytes(value);
}

void be16_designator(ParameterData& data, DesignatorType type, std::uint16_t value) {
    std::array<std::uint8_t, 4> raw{};
    store_be16(&raw[2], value);
    designator(data, kBinary, kOfTargetPort, type, raw);
}

// SPC-4 7.8.6.11: null terminated, padded to four bytes, at most 256.
void name_string(ParameterData& data, Association association, std::string name) {
    constexpr std::size_t kMaxName = 248;
    name.resize(std::min(name.size(), kMaxName));
    name.resize((name.size() / 4 + 1) * 4, '\0');
    designator(data, kUtf8, association, kScsiNameString, as_bytes(name));
}

std::string padded(std::string text, std::size_t width) {
    text.resize(width, ' ');
    return text;
}

void device_identification(LogicalUnit& unit, const Task& task, ParameterData& data) {
    const Identity& identity = unit.identity;
    std::array<std::uint8_t, 8> naa{};
    store_be64(naa.data(), identity.naa);
    designator(data, kBinary, kOfLogicalUnit, kNaa, naa);
    const std::string vendor_id =
        padded(identity.vendor, 8) + padded(identity.product, 16) + identity.serial.substr(0, 36);
    designator(data, kAscii, kOfLogicalUnit, kT10VendorId, as_bytes(vendor_id));
    name_string(data, kOfLogicalUnit, "naa." + to_hex(naa));

    const std::uint16_t port_group = task.nexus->portal_group_tag;
    std::array<std::uint8_t, 2> tag{};
    store_be16(tag.data(), port_group);
    be16_designator(data, kRelativeTargetPort, port_group);
    be16_designator(data, kTargetPortGroup, port_group);
    const std::string& target = task.nexus->device->target_name;
    name_string(data, kOfTargetPort, target + ",t,0x" + to_hex(tag));  // RFC 7143 4.4.1
    name_string(data, kOfTargetDevice, target);
}

// SPC-4 7.8.7
void extended_inquiry(LogicalUnit&, const Task&, ParameterData& data) {
    constexpr std::uint8_t kHeadOrderedSimple = 0x07;
    constexpr std::uint8_t kVolatileCache = 0x01;
    constexpr std::uint8_t kResetsClearAttentions = 0x01;  // LUICLR
    data.u8(0x00);
    data.u8(kHeadOrderedSimple);
    data.u8(kVolatileCache);
    data.u8(kResetsClearAttentions);
    data.zeroes(56);
}

// SBC-3 6.6.4
void block_limits(LogicalUnit& unit, const Task&, ParameterData& data) {
    constexpr std::uint8_t kWriteSameNonZero = 0x01;  // WSNZ: a zero length is refused
    constexpr std::uint32_t kAlignmentValid = 0x80000000;
    const std::uint32_t physical = 1u << unit.physical_exponent;
    data.u8(kWriteSameNonZero);
    data.u8(static_cast<std::uint8_t>(unit.max_compare_and_write_blocks()));
    data.be16(static_cast<std::uint16_t>(physical));   // OPTIMAL TRANSFER LENGTH GRANULARITY
    data.be32(unit.blocks_of(kMaxTransferBytes));      // MAXIMUM TRANSFER LENGTH
    data.be32(unit.blocks_of(kOptimalTransferBytes));  // OPTIMAL TRANSFER LENGTH
    data.be32(unit.blocks_of(kMaxTransferBytes));      // MAXIMUM PREFETCH LENGTH
    data.be32(unit.thin ? unit.blocks_of(kMaxUnmapBytes) : 0);
    data.be32(unit.thin ? kMaxUnmapDescriptors : 0);
    data.be32(unit.thin ? physical : 0);            // OPTIMAL UNMAP GRANULARITY
    data.be32(unit.thin ? kAlignmentValid : 0);     // UGAVALID, alignment 0
    data.be64(unit.blocks_of(kMaxWriteSameBytes));  // MAXIMUM WRITE SAME LENGTH
    // SBC-4 6.6.4. Any alignment and granularity, no boundaries.
    data.be32(unit.blocks_of(unit.max_atomic_bytes));  // MAXIMUM ATOMIC TRANSFER LENGTH
    data.zeroes(16);
}

// SBC-3 6.6.2: not rotating.
void block_device_characteristics(LogicalUnit& unit, const Task&, ParameterData& data) {
    constexpr std::uint8_t kReadableAfterErase = 0x40;  // WABEREQ 01b
    constexpr std::uint8_t kVerifiesUnmapped = 0x01;    // VBULS
    data.be16(0x0001);
    data.u8(0x00);
    data.u8(unit.device->seams.wake ? kReadableAfterErase : 0);
    data.u8(kVerifiesUnmapped);
    data.zeroes(55);
}

// SBC-3 6.6.5
void logical_block_provisioning(LogicalUnit& unit, const Task&, ParameterData& data) {
    constexpr std::uint8_t kUnmapAndWriteSame = 0x80 | 0x40 | 0x20;  // LBPU, LBPWS, LBPWS10
    constexpr std::uint8_t kUnmappedReadsZero = 0x04;                // LBPRZ 001b
    constexpr std::uint8_t kThin = 0x02;
    data.u8(unit.counts_space() ? unit.threshold_exponent() : 0);
    data.u8(unit.thin ? kUnmapAndWriteSame | kUnmappedReadsZero : 0);
    data.u8(unit.thin ? kThin : 0);
    data.u8(0);
}

// SBC-4 6.6.7: the block length there is, without protection information.
void supported_block_lengths(LogicalUnit& unit, const Task&, ParameterData& data) {
    constexpr std::uint8_t kWithoutProtection = 0x01;  // T0PS
    data.be32(unit.block_bytes());
    data.u8(0);
    data.u8(kWithoutProtection);
    data.be16(0);
}

struct PageRow {
    std::uint8_t code;
    Page compose;
    bool (*offered)(const LogicalUnit& unit) = nullptr;  // null: always
};

bool is_disk(const LogicalUnit& unit) { return unit.type == DeviceType::disk; }
bool copies(const LogicalUnit& unit) {
    return is_disk(unit) && unit.device->third_party != nullptr;
}

void supported_pages(LogicalUnit& unit, const Task& task, ParameterData& data);

constexpr std::array kPages{
    PageRow{0x00, supported_pages},
    PageRow{0x80, unit_serial_number},
    PageRow{0x83, device_identification},
    PageRow{0x86, extended_inquiry},
    PageRow{0x8F, third_party_copy_page, copies},
    PageRow{0xB0, block_limits, is_disk},
    PageRow{0xB1, block_device_characteristics, is_disk},
    PageRow{0xB2, logical_block_provisioning, is_disk},
    PageRow{0xB4, supported_block_lengths, is_disk},
};

void supported_pages(LogicalUnit& unit, const Task&, ParameterData& data) {
    for (const PageRow& page : kPages)
        if (page.offered == nullptr || page.offered(unit)) data.u8(page.code);
}

}  // namespace

Step vital_product_data(LogicalUnit& unit, Task& task, std::uint8_t page) {
    // SPC-4 6.6.1: a unit that is not there may refuse all pages.
    const auto row = std::ranges::find(kPages, page, &PageRow::code);
    if (unit.absent || row == kPages.end() || (row->offered != nullptr && !row->offered(unit)))
        return fail_cdb_field(task, 2);
    ParameterData data(task);
    data.u8(static_cast<std::uint8_t>(unit.type));
    data.u8(page);
    data.be16(0);
    row->compose(unit, task, data);
    data.patch_be16(2, data.size() - 4);
    return data.finish();
}

}  // namespace goldlink::scsi
