// The tray and the reading of a CD-ROM: START STOP UNIT, GET EVENT STATUS NOTIFICATION, MECHANISM
// STATUS, READ, READ CD (MMC-6 6.42, 6.6, 6.11, 6.17, 6.19).
//
// An installer ejects its disc when it is done. The disc is in again for who logs in after all
// sessions have ended (close_trays).
#include "target/scsi/cdrom.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr Sense kTrayOpen = sense::make(0x2, 0x3A, 0x02);
constexpr Sense kIllegalModeForTrack = sense::make(0x5, 0x64, 0x00);

void tell_media_event(LogicalUnit& unit, MediaEvent event) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses) nexus.units[index].media_event = event;
}

}  // namespace

DiscProfile disc_profile(const LogicalUnit& unit) {
    if (unit.ejected) return DiscProfile::none;
    return unit.block_count > kMaxCdBlocks ? DiscProfile::dvd_rom : DiscProfile::cd_rom;
}

Step check_disc(const LogicalUnit& unit, Task& task) {
    return unit.ejected ? fail(task, kTrayOpen) : Step::pending;
}

Step prepare_cdrom_test_unit_ready(LogicalUnit& unit, Task& task) noexcept {
    return check_disc(unit, task);
}

Step prepare_cdrom_start_stop_unit(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kPowerCondition = 0xF0;
    constexpr std::uint8_t kLoadEjectStart = 0x03;
    constexpr std::uint8_t kEject = 0x02;
    if ((task.cdb[4] & kPowerCondition) != 0) return fail_cdb_field(task, 4);
    if ((task.cdb[4] & kLoadEjectStart) == kEject && removal_is_prevented(unit))
        return fail(task, sense::kMediumRemovalPrevented);
    return Step::pending;
}

Step execute_cdrom_start_stop_unit(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kLoadEject = 0x02;
    constexpr std::uint8_t kStart = 0x01;
    if ((task.cdb[4] & kLoadEject) == 0) return Step::finished;  // nothing spins
    const bool load = (task.cdb[4] & kStart) != 0;
    if (unit.ejected != load) return Step::finished;
    unit.ejected = !load;
    tell_media_event(unit, load ? MediaEvent::new_media : MediaEvent::removal);
    if (load) unit.device->raise_attention(unit, attention::kMediumMayHaveChanged, nullptr);
    return Step::finished;
}

namespace {

// Notification classes (MMC-6 table 279).
constexpr std::uint8_t kMediaClass = 4;
constexpr std::uint8_t kDeviceBusyClass = 6;
constexpr std::uint8_t kKnownClasses = 1 << kMediaClass | 1 << kDeviceBusyClass;

void event_header(ParameterData& data, std::uint16_t length, std::uint8_t event_class) {
    data.be16(length);
    data.u8(event_class);
    data.u8(kKnownClasses);
}

}  // namespace

Step prepare_event_status(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kPolled = 0x01;
    if ((task.cdb[1] & kPolled) == 0) return fail_cdb_field(task, 1);  // none comes by itself
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

// The event of the lowest class asked for; told to each nexus once.
Step execute_event_status(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kNoEventAvailable = 0x80;
    constexpr std::uint8_t kMediaPresent = 0x02;
    constexpr std::uint8_t kDoorOpen = 0x01;
    const std::uint8_t wanted = task.cdb[4] & kKnownClasses;
    ParameterData data(task);
    if (wanted == 0) {
        event_header(data, 2, kNoEventAvailable);
        return data.finish();
    }
    const bool media = (wanted & 1 << kMediaClass) != 0;
    event_header(data, 6, media ? kMediaClass : kDeviceBusyClass);
    if (media) {
        MediaEvent& event = nexus_unit_of(task).media_event;
        data.u8(static_cast<std::uint8_t>(event));
        data.u8(unit.ejected ? kDoorOpen : kMediaPresent);
        data.be16(0);  // slots
        if (task.data_in_length > 4) event = MediaEvent::none;
    } else {
        data.be32(0);  // not busy
    }
    return data.finish();
}

Step prepare_mechanism_status(LogicalUnit&, Task& task) noexcept {
    return grant_parameter_data(task, load_be16(&task.cdb[8]));
}

Step execute_mechanism_status(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kDoorOpen = 0x10;
    ParameterData data(task);
    data.u8(0);
    data.u8(unit.ejected ? kDoorOpen : 0);
    data.zeroes(3);  // CURRENT LBA
    data.u8(1);      // one slot, and no table of it: no changer
    data.be16(0);
    return data.finish();
}

Step prepare_cdrom_read_10(LogicalUnit& unit, Task& task) noexcept {
    return check_disc(unit, task) == Step::finished ? Step::finished : prepare_read<10>(unit, task);
}

Step prepare_cdrom_read_12(LogicalUnit& unit, Task& task) noexcept {
    return check_disc(unit, task) == Step::finished ? Step::finished : prepare_read<12>(unit, task);
}

// The track is mode 1, of which we have the user data alone.
Step prepare_read_cd(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kAnyType = 0;
    constexpr std::uint8_t kMode1 = 2;
    constexpr std::uint8_t kUserData = 0x10;
    if (check_disc(unit, task) == Step::finished) return Step::finished;
    const std::uint8_t type = task.cdb[1] >> 2 & 0x07;
    if (type != kAnyType && type != kMode1) return fail(task, kIllegalModeForTrack);
    if ((task.cdb[9] & ~kUserData) != 0) return fail_cdb_field(task, 9);
    if ((task.cdb[10] & 0x07) != 0) return fail_cdb_field(task, 10);  // no subchannel
    const BlockRange range{load_be32(&task.cdb[2]), load_be24(&task.cdb[6]), 2, 6};
    if (check_range(unit, task, range, kMaxTransferBytes) == Step::finished) return Step::finished;
    if (task.cdb[9] == 0) task.block_count = 0;  // asked for nothing of the sectors
    task.data_in_length = task.block_count << unit.block_shift;
    task.request.fua = false;
    return Step::pending;
}

}  // namespace goldlink::scsi
