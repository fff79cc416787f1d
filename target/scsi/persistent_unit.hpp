// PersistentUnit: what a power loss must not take from a logical unit: reservations registered with
// APTPL (SPC-4 5.12.5) and a SANITIZE that has begun (SBC-3 4.11). A value that the device gives to
// its owner to keep (DeviceSeams::save) and gets back when it is made again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace goldlink::scsi {

struct PersistentRegistration {
    std::string initiator_port;  // "InitiatorName,i,0xISID"
    std::uint16_t portal_group_tag = 0;
    std::uint64_t key = 0;
    bool all_target_ports = false;
    bool holder = false;
    bool operator==(const PersistentRegistration&) const = default;
};

struct PersistentSanitize {
    bool failed = false;  // else it runs, and goes on
    bool unrestricted = false;
    std::vector<std::uint8_t> pattern;  // of one logical block; empty for zeroes
    bool operator==(const PersistentSanitize&) const = default;
};

struct PersistentUnit {
    std::vector<PersistentRegistration> registrations;
    std::uint8_t reservation_type = 0;  // SPC-4 table 64; 0: not reserved
    std::optional<PersistentSanitize> sanitize;
    bool operator==(const PersistentUnit&) const = default;
};

// Whether a unit could have been in that state; what is read from a file may not be.
bool is_possible(const PersistentUnit& state);

}  // namespace goldlink::scsi
