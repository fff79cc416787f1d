// The file that keeps a logical unit's PersistentUnit: `unit.json` in its overlay's folder, so that
// it lives and ends with the overlay. Replaced whole and durably; absent means an empty state.
// Threads: any that may block on the disk.
#pragma once

#include <filesystem>
#include <string>

#include "common/result.hpp"
#include "target/scsi/persistent_unit.hpp"

namespace goldlink::control {

std::string unit_state_text(const scsi::PersistentUnit& state);
Result<scsi::PersistentUnit> parse_unit_state(std::string_view text);

Result<> save_unit_state(const std::filesystem::path& overlay_folder,
                         const scsi::PersistentUnit& state);
// A file that is damaged is an error that says what to do: serving the disk without the
// reservations that somebody relies on could cost data.
Result<scsi::PersistentUnit> load_unit_state(const std::filesystem::path& overlay_folder);

}  // namespace goldlink::control
