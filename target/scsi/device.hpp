// Device: a SCSI target device with its logical units, one per link. Pure: CDBs in, disk requests
// and results out; no sockets, clock or files. One thread: the link's reactor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "target/scsi/persistent_unit.hpp"
#include "target/scsi/task.hpp"

namespace goldlink::scsi {

// Who the device says it is, the same at every boot of a link (Windows keeps drivers and drive
// letters by it).
struct Identity {
    std::string vendor = "GOLDLINK";  // 8 characters, space padded
    std::string product = "DISK";     // 16 characters
    std::string revision = "0001";    // 4 characters
    std::string serial;               // VPD 80, at most 36 characters
    std::uint64_t naa = 0;            // NAA locally assigned (3h in the top nibble)
};

enum class DeviceType : std::uint8_t {  // PERIPHERAL DEVICE TYPE (SPC-4 table 141)
    disk = 0x00,
    cdrom = 0x05,
};

struct LogicalUnitDefinition {
    std::uint16_t lun = 0;  // 0..255
    Identity identity;
    std::shared_ptr<disk::Disk> disk;    // used on the device's reactor only
    PersistentUnit restored = {};        // what an earlier device of this unit had saved
    bool removable = false;              // the medium can be ejected and loaded (RMB)
    DeviceType type = DeviceType::disk;  // cdrom: over a read-only disk in blocks of 2,048 bytes
};

// What a device needs of its owner. Called on the device's thread.
struct DeviceSeams {
    // Device::run_background is to be called soon: from the loop, never from within this call.
    // Unset: the device has no commands that work on after their answer (SANITIZE).
    std::function<void()> wake;
    // Both unset: no third-party copy either.
    std::function<std::uint64_t()> now_ms;  // of a clock that never goes back
    std::function<void(std::span<std::uint8_t> out)> fill_random;  // cryptographically random
    // Keeps a unit's state through a power loss, in the order of the calls; then Device::saved is
    // to be called with the ticket, on the device's thread and not from within this call. Unset:
    // nothing outlives the device, and it says so.
    std::function<void(std::uint16_t lun, const PersistentUnit& state, std::uint64_t ticket)> save;
};

// What a task management function does (RFC 7143 11.5.1).
enum class TaskManagement : std::uint8_t {
    abort_task = 1,
    abort_task_set = 2,
    clear_aca = 3,
    clear_task_set = 4,
    logical_unit_reset = 5,
    target_warm_reset = 6,
    target_cold_reset = 7,
    task_reassign = 8,
};

enum class TaskManagementAnswer : std::uint8_t {  // RFC 7143 11.6.1
    complete = 0,
    task_does_not_exist = 1,
    lun_does_not_exist = 2,
    task_still_allegiant = 3,
    reassign_not_supported = 4,
    not_supported = 5,
    authorization_failed = 6,
    rejected = 255,
};

// One initiator port's view of the device: unit attentions, reservations, its tasks.
class Nexus;
struct DeviceState;

enum class Step : bool { pending = false, finished = true };

class Device {
  public:
    // `target_name` is the iSCSI name, for the SCSI name string designators of VPD 83.
    Device(std::string target_name, std::vector<LogicalUnitDefinition> units,
           DeviceSeams seams = {});
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // A session begins and ends. `initiator_port` is "InitiatorName,i,0xISID" (RFC 7143 4.4.1); a
    // reinstated session of the same port gets the same reservations. A nexus must have no task
    // left when it ends. Several sessions may hold nexuses at once.
    Nexus* open_nexus(std::string_view initiator_port, std::uint16_t portal_group_tag);
    void close_nexus(Nexus* nexus);
    // The session is ending: what a task of it waits for long (SANITIZE) goes on without the task;
    // its copies end at their next piece.
    void nexus_lost(Nexus& nexus) noexcept;

    // Steps 2 and 4 of a task's life (task.hpp). After Step::finished the task's status is final
    // and it has left the task set; after pending, `complete` will be called.
    Step prepare(Task& task) noexcept;
    Step execute(Task& task) noexcept;
    // A prepared task whose data never came (connection lost, aborted): leave the task set.
    void abandon(Task& task) noexcept;

    // Marks the affected tasks `aborted` (they still complete, and send nothing); raises the unit
    // attentions that SAM-5 asks for on other nexuses. `referenced` is the task of ABORT TASK.
    TaskManagementAnswer manage(Nexus& nexus, TaskManagement function, std::uint64_t lun,
                                Task* referenced) noexcept;

    // The transport ended tasks of this nexus without their status (RFC 7143 11.14.5): the next
    // command for the unit says so by a unit attention.
    void tasks_lost(Nexus& nexus, std::uint64_t lun) noexcept;

    // Little space is left for the unit: those who asked to be told (LBPERE) are.
    void space_warning(std::uint16_t lun) noexcept;

    // A bounded step of what works on in the background; wakes again when there is more. May
    // complete tasks.
    void run_background() noexcept;

    // The end of a save: `ok` when the state is durable. Completes the commands that waited for it.
    void saved(std::uint16_t lun, std::uint64_t ticket, bool ok) noexcept;

    // Disk requests of the background included: a device must have none when it ends.
    std::size_t tasks_in_flight() const;

  private:
    std::unique_ptr<DeviceState> state_;
};

// Encodes sense data as SPC-4 4.5 (fixed 70h, or descriptor 72h when `descriptor`), at most
// 64 bytes; returns the length.
std::size_t encode_sense(const Sense& sense, bool descriptor, std::span<std::uint8_t, 64> out);

}  // namespace goldlink::scsi
