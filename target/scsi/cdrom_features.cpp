// What a CD-ROM drive says of itself: GET CONFIGURATION's features and MODE SENSE's pages (MMC-6
// 5.3, 6.5, 7.2). None of the pages can be changed, so there is no MODE SELECT.
#include "target/scsi/cdrom.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kTrayLockEject = 0x29;  // LOADING MECHANISM TYPE tray, EJECT, LOCK

using FeatureData = void (*)(const LogicalUnit& unit, ParameterData& data);

struct FeatureRow {
    std::uint16_t code;
    std::uint8_t version;
    bool (*is_current)(DiscProfile disc);
    bool persistent;
    FeatureData compose;
};

bool always(DiscProfile) { return true; }
bool with_disc(DiscProfile disc) { return disc != DiscProfile::none; }
bool with_cd(DiscProfile disc) { return disc == DiscProfile::cd_rom; }
bool with_dvd(DiscProfile disc) { return disc == DiscProfile::dvd_rom; }

void profile_list(const LogicalUnit& unit, ParameterData& data) {
    for (const DiscProfile profile : {DiscProfile::dvd_rom, DiscProfile::cd_rom}) {
        data.be16(static_cast<std::uint16_t>(profile));
        data.u8(profile == disc_profile(unit) ? 1 : 0);
        data.u8(0);
    }
}

void core(const LogicalUnit&, ParameterData& data) {
    constexpr std::uint32_t kScsiFamily = 1;
    constexpr std::uint8_t kDeviceBusyEvents = 0x01;
    data.be32(kScsiFamily);
    data.u8(kDeviceBusyEvents);
    data.zeroes(3);
}

void removable_medium(const LogicalUnit&, ParameterData& data) {
    data.u8(kTrayLockEject);
    data.zeroes(3);
}

void random_readable(const LogicalUnit& unit, ParameterData& data) {
    data.be32(unit.block_bytes());
    data.be16(1);  // BLOCKING
    data.be16(0);  // no page of error recovery to set
}

void cd_read(const LogicalUnit&, ParameterData& data) { data.zeroes(4); }
void dvd_read(const LogicalUnit&, ParameterData&) {}

// Ascending, as GET CONFIGURATION returns them.
constexpr FeatureRow kFeatures[] = {
    {0x0000, 0, always, true, profile_list},         // 5.3.1
    {0x0001, 1, always, true, core},                 // 5.3.2
    {0x0003, 0, always, true, removable_medium},     // 5.3.4
    {0x0010, 0, with_disc, false, random_readable},  // 5.3.6
    {0x001E, 0, with_cd, false, cd_read},            // 5.3.10
    {0x001F, 0, with_dvd, false, dvd_read},          // 5.3.11
};

void feature(const LogicalUnit& unit, const FeatureRow& row, ParameterData& data) {
    const bool current = row.is_current(disc_profile(unit));
    data.be16(row.code);
    data.u8(
        static_cast<std::uint8_t>(row.version << 2 | (row.persistent ? 2 : 0) | (current ? 1 : 0)));
    const std::size_t length_at = data.size();
    data.u8(0);
    row.compose(unit, data);
    data.patch_u8(length_at, data.size() - length_at - 1);
}

enum RequestType : std::uint8_t { kAll = 0, kCurrent = 1, kOne = 2 };

}  // namespace

Step prepare_get_configuration(LogicalUnit&, Task& task) noexcept {
    if ((task.cdb[1] & 0x03) > kOne) return fail_cdb_field(task, 1);
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_get_configuration(LogicalUnit& unit, Task& task) noexcept {
    const std::uint8_t request = task.cdb[1] & 0x03;
    const std::uint16_t from = load_be16(&task.cdb[2]);
    ParameterData data(task);
    data.be32(0);
    data.be16(0);
    data.be16(static_cast<std::uint16_t>(disc_profile(unit)));
    for (const FeatureRow& row : kFeatures) {
        if (row.code < from || (request == kOne && row.code != from)) continue;
        if (request == kCurrent && !row.is_current(disc_profile(unit))) continue;
        feature(unit, row, data);
    }
    data.patch_be32(0, data.size() - 4);
    return data.finish();
}

namespace {

struct PageRow {
    std::uint8_t length;  // of the whole page
    std::array<std::uint8_t, 22> bytes;
};

// 40 times the speed of audio, in kB/s; nothing spins, but drivers show it.
constexpr std::uint8_t kSpeedHigh = 0x1B, kSpeedLow = 0x90;

// Ascending by page code.
constexpr PageRow kPages[] = {
    {12, {0x01, 10}},  // Read/Write Error Recovery (7.2.3)
    {16, {0x0E, 14}},  // CD Audio Control: no audio here
    // Capabilities and Mechanical Status (7.2.11 of MMC-3): reads CD-R, CD-RW and DVD-ROM, writes
    // nothing; a buffer of 2,048 KiB.
    {22,
     {0x2A, 20, 0x0B, 0, 0, 0, kTrayLockEject, 0, kSpeedHigh, kSpeedLow, 0, 0, 0x08, 0x00,
      kSpeedHigh, kSpeedLow}},
};
constexpr std::uint8_t kAllPages = 0x3F;
constexpr std::uint8_t kModeSense10 = 0x5A;
enum PageControl : std::uint8_t { kCurrentValues = 0, kChangeable = 1, kDefaults = 2, kSaved = 3 };

Step prepare_mode_sense(Task& task, std::uint32_t allocation_length) {
    if (task.cdb[2] >> 6 == kSaved) return fail(task, sense::kSavingParametersNotSupported);
    const std::uint8_t page = task.cdb[2] & 0x3F;
    if (page != kAllPages &&
        std::ranges::none_of(kPages, [page](const PageRow& row) { return row.bytes[0] == page; }))
        return fail_cdb_field(task, 2);
    if (task.cdb[3] != 0 && task.cdb[3] != 0xFF) return fail_cdb_field(task, 3);  // no subpages
    return grant_parameter_data(task, allocation_length);
}

}  // namespace

Step prepare_cdrom_mode_sense_6(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_sense(task, task.cdb[4]);
}

Step prepare_cdrom_mode_sense_10(LogicalUnit&, Task& task) noexcept {
    return prepare_mode_sense(task, load_be16(&task.cdb[7]));
}

// MMC-6 7.2.2: no block descriptors, MEDIUM TYPE zero.
Step execute_cdrom_mode_sense(LogicalUnit&, Task& task) noexcept {
    const bool ten = task.cdb[0] == kModeSense10;
    const std::uint8_t page = task.cdb[2] & 0x3F;
    const bool changeable = task.cdb[2] >> 6 == kChangeable;
    ParameterData data(task);
    data.zeroes(ten ? 8 : 4);
    for (const PageRow& row : kPages) {
        if (page != kAllPages && page != row.bytes[0]) continue;
        data.bytes(std::span(row.bytes).first(changeable ? 2 : row.length));
        if (changeable) data.zeroes(row.length - 2u);
    }
    if (ten)
        data.patch_be16(0, data.size() - 2);
    else
        data.patch_u8(0, data.size() - 1);
    return data.finish();
}

}  // namespace goldlink::scsi
