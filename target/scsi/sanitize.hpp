// Sanitize: the SANITIZE operation of one logical unit (SBC-3 4.11, 5.30). It works on in the
// background in bounded steps, whatever becomes of the command and the session that asked for it;
// meanwhile, and after it has failed, most commands are refused.
//
// What it does to an overlay: every block is given back and reads as zero, the version below it no
// longer shows through; OVERWRITE with a pattern then stores the last pass's pattern (that of an
// earlier one could not be told from it: nothing is left of any older data by then). It ends with a
// flush. That it has begun is durable before the first block goes, and that it has ended before
// anything can be written: a power loss in between makes it begin again.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "target/scsi/device.hpp"

namespace goldlink::scsi {

struct LogicalUnit;

struct Sanitize {
    enum class State : std::uint8_t { idle, running, failed };
    enum class Phase : std::uint8_t { record, erase, fill, flush, forget };

    State state = State::idle;
    Phase phase = Phase::erase;
    State outcome = State::idle;        // what follows `forget`
    std::uint64_t ticket = 0;           // of the save that `record` and `forget` wait for
    bool unrestricted = false;          // AUSE: EXIT FAILURE MODE may end a failure
    std::vector<std::uint8_t> pattern;  // of one logical block; empty for zeroes
    std::vector<std::uint8_t> fill;     // the pattern again and again, while that is written
    std::uint64_t position_bytes = 0;   // of the phase
    Task* task = nullptr;               // waits for the end, or with IMMED for `record`
    bool immediate = false;

    disk::Request request{};
    bool in_flight = false;
};

// One request of the running operation, and the end of an aborted SANITIZE's task.
void step_sanitize(LogicalUnit& unit) noexcept;

// The save of `ticket` has ended, if it was this operation's.
void sanitize_saved(LogicalUnit& unit, std::uint64_t ticket, bool ok) noexcept;

std::optional<PersistentSanitize> persistent_sanitize(const Sanitize& sanitize);
void restore_sanitize(LogicalUnit& unit, const PersistentSanitize& state);

// Why the unit takes hardly a command, with the progress; while it runs or has failed.
Sense sanitize_sense(const LogicalUnit& unit);

}  // namespace goldlink::scsi
