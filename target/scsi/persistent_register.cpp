// PERSISTENT RESERVE OUT: REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE
// (SPC-4 5.12.7, 5.12.8).
#include "target/scsi/commands.hpp"
#include "target/scsi/persistent_reserve.hpp"
#include "target/scsi/transport_id.hpp"

namespace goldlink::scsi {

namespace {

using namespace persistent;

constexpr std::uint8_t kSpecifyPorts = 0x08;             // SPEC_I_PT
constexpr std::uint8_t kAllTargetPorts = 0x04;           // ALL_TG_PT
constexpr std::uint8_t kPersistThroughPowerLoss = 0x01;  // APTPL
constexpr std::uint16_t kFlagsByte = 20;
constexpr std::uint32_t kIdsOffset = kBasicListBytes + 4;

// The ports that SPEC_I_PT lists behind the basic list; false: the task has failed.
bool specified_ports(Task& task, std::vector<std::string>& ports) {
    const Bytes list(task.buffer, task.data_out_length);
    if (list.size() < kIdsOffset || load_be32(&list[kBasicListBytes]) != list.size() - kIdsOffset) {
        fail(task, sense::kParameterListLengthError);
        return false;
    }
    for (std::size_t at = kIdsOffset; at < list.size();) {
        const std::size_t length = transport_id_length(list.subspan(at));
        const auto port = decode_transport_id(list.subspan(at, length));
        if (!port) {
            fail_parameter_field(task, static_cast<std::uint16_t>(at));
            return false;
        }
        if (std::ranges::find(ports, *port) == ports.end()) ports.push_back(*port);
        at += length;
    }
    return true;
}

// All ports are registered, or none: one that has a registration already is not changed by another.
Step register_ports(LogicalUnit& unit, Task& task, const std::vector<std::string>& ports) {
    Reservations& held = unit.reservations;
    const std::uint16_t portal_group = task.nexus->portal_group_tag;
    const bool everywhere = (task.buffer[kFlagsByte] & kAllTargetPorts) != 0;
    for (const std::string& port : ports) {
        if (!(everywhere ? held.has_port(port) : held.find(port, portal_group) != nullptr))
            continue;
        // The sender's port has a key with another portal group, which its zero does not match.
        return &port == &ports.front() ? conflict(task) : fail_parameter_field(task, kIdsOffset);
    }
    if (held.registrations.size() + ports.size() > Reservations::kMaxRegistrations)
        return fail(task, sense::kInsufficientRegistrationResources);
    for (const std::string& port : ports) {
        Registration registration;
        registration.initiator_port = port;
        registration.portal_group_tag = portal_group;
        registration.key = service_action_key(task);
        registration.all_target_ports = everywhere;
        add_registration(unit, std::move(registration));
    }
    return Step::pending;
}

bool may_persist(const LogicalUnit& unit, bool asked) {
    return !asked || unit.device->seams.save != nullptr;
}

Step register_key(LogicalUnit& unit, Task& task) {
    Reservations& held = unit.reservations;
    const std::uint8_t flags = task.buffer[kFlagsByte];
    const bool persist = (flags & kPersistThroughPowerLoss) != 0;
    const bool persisted = held.persists;
    const std::uint64_t key = service_action_key(task);
    Registration* known = held.find(nexus_unit_of(task).registration);
    if (!may_persist(unit, persist)) return fail_parameter_field(task, kFlagsByte);
    if (known == nullptr) {
        std::vector<std::string> ports{task.nexus->initiator_port};
        if ((flags & kSpecifyPorts) != 0 && !specified_ports(task, ports)) return Step::finished;
        if (key == 0) return Step::finished;
        if (register_ports(unit, task, ports) == Step::finished) return Step::finished;
    } else if ((flags & kSpecifyPorts) != 0) {
        return fail_parameter_field(task, kFlagsByte);  // only together with one's own
    } else if (key == 0) {
        unregister(unit, *task.nexus, known->id);
    } else {
        known->key = key;
    }
    held.persists = persist;
    ++held.generation;
    return answer(unit, task, persisted);
}

// Step::finished if the task has failed.
Step check_length(Task& task) {
    const bool ports = (task.buffer[kFlagsByte] & kSpecifyPorts) != 0;
    if (!ports && task.data_out_length != kBasicListBytes)
        return fail(task, sense::kParameterListLengthError);
    return Step::pending;
}

}  // namespace

Step execute_register(LogicalUnit& unit, Task& task) noexcept {
    if (check_length(task) == Step::finished) return Step::finished;
    const Registration* known = unit.reservations.find(nexus_unit_of(task).registration);
    if (reservation_key(task) != (known != nullptr ? known->key : 0)) return conflict(task);
    return register_key(unit, task);
}

// SPC-4 6.16.3: without SPEC_I_PT.
Step execute_register_and_ignore_existing_key(LogicalUnit& unit, Task& task) noexcept {
    if (check_length(task) == Step::finished) return Step::finished;
    if ((task.buffer[kFlagsByte] & kSpecifyPorts) != 0)
        return fail_parameter_field(task, kFlagsByte);
    return register_key(unit, task);
}

// 5.12.8: the reservation goes to another port, which is registered with a key of the mover's
// choice.
Step execute_register_and_move(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kUnregister = 0x02;
    constexpr std::uint16_t kMoveFlagsByte = 17;
    Reservations& held = unit.reservations;
    const Registration* mover = check_registered(unit, task);
    if (mover == nullptr) return Step::finished;
    const std::uint32_t mover_id = mover->id;
    if (!held.is_holder(mover_id) || is_all_registrants(held.type)) return conflict(task);
    if (task.cdb[2] != static_cast<std::uint8_t>(held.type)) return fail_cdb_field(task, 2);
    const std::uint64_t key = service_action_key(task);
    if (key == 0) return fail_parameter_field(task, kServiceActionKeyByte);
    const std::uint8_t flags = task.buffer[kMoveFlagsByte];
    const bool persist = (flags & kPersistThroughPowerLoss) != 0;
    const bool persisted = held.persists;
    if (!may_persist(unit, persist)) return fail_parameter_field(task, kMoveFlagsByte);
    const std::uint16_t target_port = load_be16(task.buffer + 18);
    if (target_port != task.nexus->portal_group_tag) return fail_parameter_field(task, 18);
    if (load_be32(task.buffer + 20) != task.data_out_length - kBasicListBytes)
        return fail(task, sense::kParameterListLengthError);
    const auto port =
        decode_transport_id(Bytes(task.buffer, task.data_out_length).subspan(kBasicListBytes));
    if (!port || *port == task.nexus->initiator_port) return fail_parameter_field(task, 24);
    Registration* receiver = held.find(*port, target_port);
    if (receiver == nullptr) {
        Registration registration;
        registration.initiator_port = *port;
        registration.portal_group_tag = target_port;
        receiver = add_registration(unit, std::move(registration));
    }
    if (receiver == nullptr) return fail(task, sense::kInsufficientRegistrationResources);
    receiver->key = key;
    held.holder = receiver->id;
    if ((flags & kUnregister) != 0) drop_registration(unit, mover_id);
    held.persists = persist;
    ++held.generation;
    return answer(unit, task, persisted);
}

}  // namespace goldlink::scsi
