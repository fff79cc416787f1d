// Opcode table: one row a command, which says all that is common to commands: who may send it when,
// what its CDB looks like, and the two functions that check and run it. A device type is a list of
// rows (disk_commands.cpp); completing a command set means adding rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "target/scsi/device.hpp"
#include "target/scsi/task.hpp"

namespace goldlink::scsi {

struct LogicalUnit;

// What a reservation held by another nexus does to the command (SPC-4 tables 66 to 68, SBC-3 table
// 13).
enum class Under : std::uint8_t {
    any,         // allowed
    persistent,  // conflicts with RESERVE only
    read,        // conflicts with exclusive access too
    write,       // conflicts with every reservation
};

// Conditions and traits, or-ed.
enum Trait : std::uint8_t {
    kPlain = 0,
    kAnyLun = 1,           // answered for LUNs that do not exist
    kPassesAttention = 2,  // runs while a unit attention is pending, which stays (SAM-5 5.14)
    kWrites = 4,           // refused by write-protected units
    kExclusive = 8,        // no other command touches its blocks meanwhile (SBC-3 5.2)
    kThinOnly = 16,        // known only to units that give space back
    kBackground = 32,      // known only to devices that can work in the background
    kThirdParty = 64,      // known only to devices that copy by themselves
    kAtomic = 128,         // known only to units whose disks write atomically
};

// What a data-out must be that is shorter or longer than the CDB says (settle_data_out). A longer
// one is transferred as far as the command needs it, except where `exact` or `counted`.
enum class DataOut : std::uint8_t {
    list,     // a parameter list that is cut short is refused (PARAMETER LIST LENGTH ERROR)
    blocks,   // as many blocks as are there
    whole,    // all of it or nothing: half a comparison or atomic write is none
    exact,    // more of it cannot be what was meant either
    counted,  // the same, and what does not fit is the CDB's count (COMPARE AND WRITE)
};

// Between two disk requests of a multi-step command.
enum class Next : std::uint8_t { submit, finished };

struct OpcodeRow {
    static constexpr std::int16_t kNoServiceAction = -1;

    std::uint8_t opcode = 0;
    std::int16_t service_action = kNoServiceAction;
    std::uint8_t cdb_length = 0;
    Under under = Under::any;
    std::uint8_t traits = kPlain;
    // CDB usage data (SPC-4 6.35.3): ones where we look at a bit; byte 0 and the service action
    // are filled in by the report.
    std::array<std::uint8_t, 16> usage{};
    // Checks the CDB and sets lengths. Step::pending: go on to execute.
    Step (*prepare)(LogicalUnit& unit, Task& task) noexcept = nullptr;
    Step (*execute)(LogicalUnit& unit, Task& task) noexcept = nullptr;
    // For commands of several disk requests (see disk_steps.hpp), else null.
    Next (*advance)(LogicalUnit& unit, Task& task) noexcept = nullptr;
    DataOut data_out = DataOut::list;  // of commands that have one
};

// The rows of one device type, findable by opcode in one step.
class CommandSet {
  public:
    // Rows of one opcode must stand together.
    explicit CommandSet(std::span<const OpcodeRow> rows);

    std::span<const OpcodeRow> rows() const { return rows_; }

    // All rows of an opcode; empty if there are none.
    std::span<const OpcodeRow> rows_of(std::uint8_t opcode) const {
        const Entry& entry = by_opcode_[opcode];
        return {entry.first, entry.count};
    }

    // The row for a CDB, or null.
    const OpcodeRow* find(const std::uint8_t* cdb) const {
        const Entry& entry = by_opcode_[cdb[0]];
        if (!entry.by_service_action) return entry.first;
        const std::int16_t action = cdb[1] & 0x1F;
        for (const OpcodeRow& row : std::span(entry.first, entry.count))
            if (row.service_action == action) return &row;
        return nullptr;
    }

    bool has_service_actions(std::uint8_t opcode) const {
        return by_opcode_[opcode].by_service_action;
    }

  private:
    struct Entry {
        const OpcodeRow* first = nullptr;
        std::uint32_t count = 0;
        bool by_service_action = false;
    };

    std::span<const OpcodeRow> rows_;
    std::array<Entry, 256> by_opcode_{};
};

// Peripheral device type 00h (SBC-3).
const CommandSet& disk_command_set();
// Peripheral device type 05h (MMC-6).
const CommandSet& cdrom_command_set();

}  // namespace goldlink::scsi
