// Reservations of one logical unit: SPC-2 RESERVE/RELEASE and SPC-4 5.12 persistent reservations.
// What is held, by whom, and whether a command of a nexus may run; the commands that change it are
// in persistent_*.cpp and reserve_commands.cpp. Registrations outlive sessions (a port that comes
// back has them again), and the device while `persists`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "target/scsi/opcode_table.hpp"

namespace goldlink::scsi {

class Nexus;

enum class ReservationType : std::uint8_t {  // SPC-4 table 64
    none = 0,
    write_exclusive = 1,
    exclusive_access = 3,
    write_exclusive_registrants_only = 5,
    exclusive_access_registrants_only = 6,
    write_exclusive_all_registrants = 7,
    exclusive_access_all_registrants = 8,
};

bool is_valid_type(std::uint8_t type);
bool is_all_registrants(ReservationType type);
bool is_registrants_only(ReservationType type);  // the all-registrants types included

struct Registration {
    std::uint32_t id = 0;  // never 0, never used twice
    std::string initiator_port;
    std::uint16_t portal_group_tag = 0;
    std::uint64_t key = 0;
    bool all_target_ports = false;  // ALL_TG_PT: of the port with every portal group
};

struct Reservations {
    static constexpr std::size_t kMaxRegistrations = 128;

    const Nexus* legacy_holder = nullptr;  // RESERVE(6), until RELEASE(6), reset or session end

    std::vector<Registration> registrations;
    ReservationType type = ReservationType::none;
    std::uint32_t holder = 0;      // registration id; 0 for the all-registrants types
    std::uint32_t generation = 0;  // PRGENERATION
    bool persists = false;         // APTPL of the last registration: PTPL_A
    std::uint32_t next_id = 1;

    bool held() const { return legacy_holder != nullptr || type != ReservationType::none; }
    Registration* find(std::uint32_t id);
    Registration* find(std::string_view initiator_port, std::uint16_t portal_group_tag);
    bool has_port(std::string_view initiator_port) const;  // with any portal group
    bool is_holder(std::uint32_t registration) const;

    // Whether a command that is `under` so may not run for this nexus. Only asked while held().
    bool conflicts(const Nexus& nexus, std::uint32_t registration, Under under) const;
};

}  // namespace goldlink::scsi
