// Third-party Copy VPD page (8Fh; SPC-4 7.8.17, SBC-3 6.6.6): what copies the device does, a
// function a descriptor, in ascending order of their types.
#include <array>

#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"
#include "target/scsi/third_party_copy.hpp"

namespace goldlink::scsi {

namespace {

void pad_to_four(ParameterData& data) {
    while (data.size() % 4 != 0) data.u8(0);
}

// SBC-3 6.6.6.3, in blocks and seconds.
void block_device_rod_limits(LogicalUnit& unit, ParameterData& data) {
    data.zeroes(6);
    data.be16(RodTokens::kMaxRanges);
    data.be32(RodTokens::kMaxInactivitySeconds);
    data.be32(RodTokens::kDefaultInactivitySeconds);
    data.be64(RodTokens::kMaxBytes >> unit.block_shift);      // MAXIMUM TOKEN TRANSFER SIZE
    data.be64(RodTokens::kOptimalBytes >> unit.block_shift);  // OPTIMAL TRANSFER COUNT
}

// The rows of the opcode table: operation code, number of service actions, these.
void supported_commands(LogicalUnit& unit, ParameterData& data) {
    const std::size_t length_at = data.size();
    data.u8(0);
    for (const int opcode : {0x83, 0x84}) {
        const auto rows = unit.commands->rows_of(static_cast<std::uint8_t>(opcode));
        data.u8(static_cast<std::uint8_t>(opcode));
        data.u8(static_cast<std::uint8_t>(rows.size()));
        for (const OpcodeRow& row : rows) data.u8(static_cast<std::uint8_t>(row.service_action));
    }
    data.patch_u8(length_at, data.size() - length_at - 1);
}

void parameter_data(LogicalUnit&, ParameterData& data) {
    data.zeroes(4);
    data.be16(kMaxCscdDescriptors);
    data.be16(kMaxSegmentDescriptors);
    data.be32(kMaxDescriptorListBytes);
    data.be32(0);  // MAXIMUM INLINE DATA LENGTH
    data.zeroes(12);
}

void supported_descriptors(LogicalUnit&, ParameterData& data) {
    data.u8(2);
    data.u8(kBlockToBlock);
    data.u8(kIdentificationDescriptor);
}

// No CSCD identifiers beyond those of a list's own descriptors.
void supported_cscd_ids(LogicalUnit&, ParameterData& data) { data.be16(0); }

// SPC-4 7.8.17.8, with the descriptor of block devices (7.8.17.8.2).
void rod_token_features(LogicalUnit& unit, ParameterData& data) {
    constexpr std::uint16_t kBlockDescriptorBytes = 48;
    data.u8(0);  // REMOTE TOKENS: none of other copy managers
    data.zeroes(11);
    data.be32(0);  // MINIMUM TOKEN LIFETIME: a newer token may take a token's place
    data.be32(RodTokens::kMaxLifetimeSeconds);
    data.be32(RodTokens::kMaxInactivitySeconds);
    data.zeroes(18);
    data.be16(kBlockDescriptorBytes);
    data.be16(0x0000);  // format 000b, peripheral device type 00h
    data.be16(kBlockDescriptorBytes - 4);
    data.be16(0);
    data.be16(static_cast<std::uint16_t>(1u << unit.physical_exponent));  // OPTIMAL ... GRANULARITY
    data.be64(RodTokens::kMaxBytes);
    data.be64(RodTokens::kOptimalBytes);  // OPTIMAL BYTES IN BLOCK ROD TRANSFER
    data.be64(RodTokens::kOptimalBytes);  // OPTIMAL BYTES TO TOKEN PER SEGMENT
    data.be64(RodTokens::kOptimalBytes);  // OPTIMAL BYTES FROM TOKEN PER SEGMENT
    data.zeroes(8);
}

void supported_rod_types(LogicalUnit&, ParameterData& data) {
    enum : std::uint8_t { kTokenOut = 0x01, kTokenIn = 0x02 };
    constexpr std::uint16_t kTypeDescriptorBytes = 64;
    data.be16(0);
    data.be16(2 * kTypeDescriptorBytes);
    data.be32(kRodTypeChangeVulnerable);
    data.u8(kTokenIn | kTokenOut);
    data.zeroes(kTypeDescriptorBytes - 5);
    data.be32(kRodTypeBlockZero);
    data.u8(kTokenIn);
    data.zeroes(kTypeDescriptorBytes - 5);
}

void general_copy_operations(LogicalUnit& unit, ParameterData& data) {
    data.be32(ThirdPartyCopy::kMaxRunning);  // TOTAL CONCURRENT COPIES
    data.be32(ThirdPartyCopy::kMaxRunning);  // MAXIMUM IDENTIFIED CONCURRENT COPIES
    data.be32(kMaxSegmentBytes);
    data.u8(static_cast<std::uint8_t>(unit.block_shift));  // DATA SEGMENT GRANULARITY (log 2)
    data.u8(0);                                            // INLINE DATA GRANULARITY
    data.zeroes(18);
}

struct DescriptorRow {
    std::uint16_t type;
    void (*compose)(LogicalUnit& unit, ParameterData& data);
};

constexpr std::array kDescriptors{
    DescriptorRow{0x0000, block_device_rod_limits}, DescriptorRow{0x0001, supported_commands},
    DescriptorRow{0x0004, parameter_data},          DescriptorRow{0x0008, supported_descriptors},
    DescriptorRow{0x000C, supported_cscd_ids},      DescriptorRow{0x0106, rod_token_features},
    DescriptorRow{0x0108, supported_rod_types},     DescriptorRow{0x8001, general_copy_operations},
};

}  // namespace

void third_party_copy_page(LogicalUnit& unit, const Task&, ParameterData& data) {
    for (const DescriptorRow& row : kDescriptors) {
        const std::size_t at = data.size();
        data.be16(row.type);
        data.be16(0);
        row.compose(unit, data);
        pad_to_four(data);
        data.patch_be16(at + 2, data.size() - at - 4);
    }
}

}  // namespace goldlink::scsi
