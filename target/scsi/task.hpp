// Task: one SCSI command between the iSCSI session (which owns it, moves its data and sends its
// status) and the device server (which executes it). No allocation per command: sessions keep a
// pool of tasks; large sense or parameter data lives in the buffer the session provides.
//
// Life of a task, all on the link's reactor:
//   1. the session fills cdb, lun, attribute, data lengths offered by the initiator
//   2. Device::prepare(task): checks the command and sets data_out_length / data_in_length, or
//      finishes it at once with a status (returns Step::finished)
//   3. the session collects min(offered, data_out_length) bytes into `buffer`; or provides
//      a buffer of data_in_length bytes. Lengths that differ are settled by then (data_out.hpp)
//   4. Device::execute(task): finished inline, or pending and `complete` is called later
//   5. the session sends data-in (data_in_length now holds the true count), status, sense, residual
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "target/disk/disk.hpp"

namespace goldlink::scsi {

enum class Status : std::uint8_t {  // SAM-5 5.3.1
    good = 0x00,
    check_condition = 0x02,
    condition_met = 0x04,
    busy = 0x08,
    reservation_conflict = 0x18,
    task_set_full = 0x28,
    aca_active = 0x30,
    task_aborted = 0x40,
};

enum class TaskAttribute : std::uint8_t {
    untagged,
    simple,
    ordered,
    head_of_queue,
    aca
};  // RFC 7143 11.3.1

struct Sense {  // fixed or descriptor format is made from this by encode_sense (SPC-4 4.5)
    std::uint8_t key = 0;
    std::uint8_t asc = 0;
    std::uint8_t ascq = 0;
    bool has_information = false;
    std::uint64_t information = 0;
    bool has_field_pointer = false;  // with key 5
    bool field_in_cdb = true;
    std::uint16_t field_byte = 0;
    bool has_progress = false;   // with keys 0 and 2
    std::uint16_t progress = 0;  // of 65,536 (SPC-4 4.5.2.4.4)
};

// Where a task stands in its logical unit's task set (the device's own bookkeeping).
enum class TaskPhase : std::uint8_t {
    outside,   // not in a task set
    prepared,  // waits for its data or for execute
    waiting,   // executed, but must not start before another task ends
    started,   // its command runs
};

class Nexus;  // one I_T nexus as the device knows it; see device.hpp

struct Task {
    // Set by the session before prepare.
    std::array<std::uint8_t, 16> cdb{};
    std::span<const std::uint8_t> long_cdb;  // whole CDB when longer than 16 bytes (from an AHS)
    std::uint64_t lun = 0;                   // the 8 LUN bytes, big endian (SAM-5 4.7)
    TaskAttribute attribute = TaskAttribute::simple;
    Nexus* nexus = nullptr;
    std::uint32_t offered_out = 0;  // bytes the initiator has for us (EDTL of a write)
    std::uint32_t offered_in =
        0;  // bytes it has room for (EDTL of a read, or bidirectional length)

    // Set by prepare, data_in_length corrected by execute.
    std::uint32_t data_out_length = 0;  // bytes the CDB says, set when that is refused too
    std::uint32_t data_in_length = 0;   // bytes the command returns; the session cuts to offered_in

    // Set by the session before execute: room for max(data_out, data_in) bytes.
    std::uint8_t* buffer = nullptr;

    // Set by the session before execute: it can send data-in from memory that the disk lends. Then
    // the data of a READ may be in request.lent instead of in `buffer`.
    bool may_lend = false;

    // Result. With check_condition the session encodes `sense` in the format the logical unit's
    // D_SENSE bit asks for: encode_sense(task.sense, task.descriptor_sense, ...).
    Status status = Status::good;
    Sense sense{};
    bool descriptor_sense = false;

    // Called once if execute returned pending, on the reactor, never inline.
    void (*complete)(Task& task) noexcept = nullptr;
    void* owner = nullptr;

    // The device's, between prepare and the end.
    const void* opcode = nullptr;  // row of the opcode table
    std::uint64_t lba = 0;
    std::uint32_t block_count = 0;
    std::uint32_t logical_unit = 0;  // index in the device
    disk::Request request{};  // of a READ that is done, lent_count says whether its data is lent
    bool aborted = false;     // set by task management: finish, but send nothing
    std::uint64_t scratch[4] = {};
    TaskPhase phase = TaskPhase::outside;
    Task* next = nullptr;  // task set's list
    Task* previous = nullptr;
};

}  // namespace goldlink::scsi
