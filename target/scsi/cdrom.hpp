// What the table of CD-ROM commands names (MMC-6): a drive that holds one pressed disc of one data
// track, and can open its tray. The disc is the unit's disk in blocks of 2,048 bytes. Each function
// runs on the link's reactor with its row's checks done.
#pragma once

#include "target/scsi/commands.hpp"

namespace goldlink::scsi {

// MMC-6 5.3.1, table 94. What does not fit on a CD of 80 minutes is shown as a DVD.
enum class DiscProfile : std::uint16_t { none = 0x0000, cd_rom = 0x0008, dvd_rom = 0x0010 };
inline constexpr std::uint64_t kMaxCdBlocks = 80 * 60 * 75;
DiscProfile disc_profile(const LogicalUnit& unit);

// Commands of the disc fail while the tray is open: NOT READY, MEDIUM NOT PRESENT - TRAY OPEN.
Step check_disc(const LogicalUnit& unit, Task& task);

// cdrom_medium.cpp: the tray, and reading
CommandFunction prepare_cdrom_test_unit_ready;
CommandFunction prepare_cdrom_start_stop_unit, execute_cdrom_start_stop_unit;
CommandFunction prepare_event_status, execute_event_status;
CommandFunction prepare_mechanism_status, execute_mechanism_status;
CommandFunction prepare_cdrom_read_10, prepare_cdrom_read_12, prepare_read_cd;

// cdrom_disc.cpp: what the disc says of itself
CommandFunction prepare_cdrom_read_capacity;
CommandFunction prepare_format_capacities, execute_format_capacities;
CommandFunction prepare_read_toc, execute_read_toc;
CommandFunction prepare_disc_information, execute_disc_information;
CommandFunction prepare_disc_structure, execute_disc_structure;

// cdrom_features.cpp: what the drive says of itself
CommandFunction prepare_get_configuration, execute_get_configuration;
CommandFunction prepare_cdrom_mode_sense_6, prepare_cdrom_mode_sense_10, execute_cdrom_mode_sense;

}  // namespace goldlink::scsi
