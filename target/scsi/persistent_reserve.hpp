// What the service actions of PERSISTENT RESERVE OUT share (SPC-4 5.12, 6.16). Internal to
// target/scsi.
#pragma once

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/sense.hpp"

namespace goldlink::scsi::persistent {

inline constexpr std::uint32_t kBasicListBytes = 24;
inline constexpr std::uint32_t kMaxListBytes = 16 * 1024;  // of REGISTER with SPEC_I_PT
inline constexpr std::uint16_t kServiceActionKeyByte = 8;

inline std::uint64_t reservation_key(const Task& task) { return load_be64(task.buffer); }
inline std::uint64_t service_action_key(const Task& task) { return load_be64(task.buffer + 8); }

inline Step conflict(Task& task) { return fail_status(task, Status::reservation_conflict); }

// For actions that only a registered nexus with the right key may do; null: the task has failed.
Registration* check_registered(LogicalUnit& unit, Task& task);

// Null when there is no room for one more.
Registration* add_registration(LogicalUnit& unit, Registration registration);
void drop_registration(LogicalUnit& unit, std::uint32_t id);

// 5.12.11.3: a holder that unregisters releases; of all registrants only the last does.
void unregister(LogicalUnit& unit, const Nexus& issuer, std::uint32_t id);

// `persisted` is whether registrations outlived the device before the action. The answer waits for
// what has to be durable, the end of persistence included.
Step answer(LogicalUnit& unit, Task& task, bool persisted);

}  // namespace goldlink::scsi::persistent
