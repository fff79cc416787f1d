// PERSISTENT RESERVE OUT (SPC-4 6.16, 5.12): one function a service action. Registrations are not
// kept over the end of the device, so APTPL is refused, as REPORT CAPABILITIES says.
#include "target/scsi/commands.hpp"
#include "target/scsi/transport_id.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint32_t kBasicListBytes = 24;
constexpr std::uint32_t kMaxListBytes = 24 + 4 + 256;
constexpr std::uint16_t kServiceActionKeyByte = 8;

ReservationType requested_type(const Task& task) {
    return static_cast<ReservationType>(task.cdb[2] & 0x0F);
}

bool is_valid_type(const Task& task) {
    const std::uint8_t scope = task.cdb[2] >> 4;
    const std::uint8_t type = task.cdb[2] & 0x0F;
    return scope == 0 && (type == 1 || type == 3 || (type >= 5 && type <= 8));
}

std::uint64_t reservation_key(const Task& task) { return load_be64(task.buffer); }
std::uint64_t service_action_key(const Task& task) { return load_be64(task.buffer + 8); }

Step conflict(Task& task) { return fail_status(task, Status::reservation_conflict); }

// Every live nexus of a port sees its registration (or that it has none any more).
void tell_nexuses(LogicalUnit& unit, const Registration& registration, std::uint32_t id) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses)
        if (nexus.initiator_port == registration.initiator_port &&
            nexus.portal_group_tag == registration.portal_group_tag)
            nexus.units[index].registration = id;
}

// Raises an attention on every registered nexus but the issuer.
void warn_registered(LogicalUnit& unit, const Nexus& issuer, Attention attention) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses)
        if (&nexus != &issuer && nexus.units[index].registration != 0)
            nexus.units[index].attentions.raise(attention);
}

// Raises an attention on the nexuses of one registration.
void warn_port(LogicalUnit& unit, std::uint32_t registration, Attention attention) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses)
        if (nexus.units[index].registration == registration)
            nexus.units[index].attentions.raise(attention);
}

Registration* add_registration(LogicalUnit& unit, std::string initiator_port,
                               std::uint16_t portal_group_tag, std::uint64_t key) {
    Reservations& held = unit.reservations;
    if (held.registrations.size() >= Reservations::kMaxRegistrations) return nullptr;
    Registration& added = held.registrations.emplace_back();
    added.id = held.next_id++;
    added.initiator_port = std::move(initiator_port);
    added.portal_group_tag = portal_group_tag;
    added.key = key;
    tell_nexuses(unit, added, added.id);
    return &added;
}

void drop_registration(LogicalUnit& unit, std::uint32_t id) {
    Reservations& held = unit.reservations;
    if (const Registration* registration = held.find(id)) tell_nexuses(unit, *registration, 0);
    std::erase_if(held.registrations, [&](const Registration& each) { return each.id == id; });
}

void drop_reservation(Reservations& held) {
    held.type = ReservationType::none;
    held.holder = 0;
}

// 5.12.11.2: the reservation ends; registrants that could write because of it are told.
void release_reservation(LogicalUnit& unit, const Nexus& issuer) {
    const bool told = is_registrants_only(unit.reservations.type);
    drop_reservation(unit.reservations);
    if (told) warn_registered(unit, issuer, attention::kReservationsReleased);
}

// 5.12.11.3: a holder that unregisters releases; of all registrants only the last does.
void unregister(LogicalUnit& unit, const Nexus& issuer, std::uint32_t id) {
    Reservations& held = unit.reservations;
    const bool was_holder = held.is_holder(id);
    const bool all = is_all_registrants(held.type);
    drop_registration(unit, id);
    if (was_holder && (!all || held.registrations.empty())) release_reservation(unit, issuer);
}

void hold(Reservations& held, ReservationType type, std::uint32_t registration) {
    held.type = type;
    held.holder = is_all_registrants(type) ? 0 : registration;
}

// The parameter list's own checks; Step::finished if the task has failed.
Step check_list(Task& task) {
    constexpr std::uint8_t kSpecifyPorts = 0x08;             // SPEC_I_PT
    constexpr std::uint8_t kAllTargetPorts = 0x04;           // ALL_TG_PT
    constexpr std::uint8_t kPersistThroughPowerLoss = 0x01;  // APTPL
    if (task.offered_out < task.data_out_length)
        return fail(task, sense::kParameterListLengthError);
    if ((task.buffer[20] & (kSpecifyPorts | kAllTargetPorts | kPersistThroughPowerLoss)) != 0)
        return fail_parameter_field(task, 20);
    return Step::pending;
}

// For actions that only a registered nexus with the right key may do.
Registration* check_registered(LogicalUnit& unit, Task& task) {
    Registration* registration = unit.reservations.find(nexus_unit_of(task).registration);
    if (registration == nullptr || registration->key != reservation_key(task)) {
        conflict(task);
        return nullptr;
    }
    return registration;
}

Step register_key(LogicalUnit& unit, Task& task) {
    Reservations& held = unit.reservations;
    const std::uint64_t key = service_action_key(task);
    Registration* known = held.find(nexus_unit_of(task).registration);
    if (known == nullptr) {
        if (key == 0) return Step::finished;
        if (!add_registration(unit, task.nexus->initiator_port, task.nexus->portal_group_tag, key))
            return fail(task, sense::kInsufficientRegistrationResources);
    } else if (key == 0) {
        unregister(unit, *task.nexus, known->id);
    } else {
        known->key = key;
    }
    ++held.generation;
    return Step::finished;
}

}  // namespace

Step prepare_persistent_reserve_out(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kRegisterAndMove = 0x07;
    const std::uint32_t length = load_be32(&task.cdb[5]);
    const bool moves = (task.cdb[1] & 0x1F) == kRegisterAndMove;
    if (length < kBasicListBytes || length > kMaxListBytes || (!moves && length != kBasicListBytes))
        return fail(task, sense::kParameterListLengthError);
    if (unit.reservations.legacy_holder != nullptr) return conflict(task);
    task.data_out_length = length;
    return Step::pending;
}

Step execute_register(LogicalUnit& unit, Task& task) noexcept {
    if (check_list(task) == Step::finished) return Step::finished;
    const Registration* known = unit.reservations.find(nexus_unit_of(task).registration);
    if (reservation_key(task) != (known != nullptr ? known->key : 0)) return conflict(task);
    return register_key(unit, task);
}

Step execute_register_and_ignore_existing_key(LogicalUnit& unit, Task& task) noexcept {
    if (check_list(task) == Step::finished) return Step::finished;
    return register_key(unit, task);
}

Step execute_reserve(LogicalUnit& unit, Task& task) noexcept {
    if (check_list(task) == Step::finished) return Step::finished;
    const Registration* self = check_registered(unit, task);
    if (self == nullptr) return Step::finished;
    if (!is_valid_type(task)) return fail_cdb_field(task, 2);
    Reservations& held = unit.reservations;
    if (held.type == ReservationType::none) {
        hold(held, requested_type(task), self->id);
        return Step::finished;
    }
    const bool same = held.is_holder(self->id) && held.type == requested_type(task);
    return same ? Step::finished : conflict(task);
}

Step execute_release(LogicalUnit& unit, Task& task) noexcept {
    if (check_list(task) == Step::finished) return Step::finished;
    const Registration* self = check_registered(unit, task);
    if (self == nullptr) return Step::finished;
    if (!unit.reservations.is_holder(self->id)) return Step::finished;
    if (task.cdb[2] != static_cast<std::uint8_t>(unit.reservations.type))
        return fail(task, sense::kInvalidReleaseOfPersistentReservation);
    release_reservation(unit, *task.nexus);
    return Step::finished;
}

Step execute_clear(LogicalUnit& unit, Task& task) noexcept {
    if (check_list(task) == Step::finished) return Step::finished;
    if (check_registered(unit, task) == nullptr) return Step::finished;
    warn_registered(unit, *task.nexus, attention::kReservationsPreempted);
    Reservations& held = unit.reservations;
    drop_reservation(held);
    while (!held.registrations.empty()) drop_registration(unit, held.registrations.back().id);
    ++held.generation;
    return Step::finished;
}

namespace {

void abort_tasks_of(LogicalUnit& unit, std::uint32_t registration, const Task& issuer) {
    for (Task* task = unit.first_task; task != nullptr; task = task->next)
        if (task != &issuer && nexus_unit_of(*task).registration == registration)
            task->aborted = true;
}

// Drops the registrations that `preempted` picks, never the issuer's own; returns how many matched.
template <typename Preempted>
std::size_t preempt_registrations(LogicalUnit& unit, const Task& task, std::uint32_t self,
                                  bool abort, Preempted preempted) {
    std::vector<std::uint32_t> ids;
    std::size_t matched = 0;
    for (const Registration& each : unit.reservations.registrations) {
        if (!preempted(each)) continue;
        ++matched;
        if (each.id != self) ids.push_back(each.id);
    }
    for (const std::uint32_t id : ids) {
        if (abort) abort_tasks_of(unit, id, task);
        warn_port(unit, id, attention::kRegistrationsPreempted);
        drop_registration(unit, id);
    }
    return matched;
}

// 5.12.11.4 and 5.12.11.5
Step preempt(LogicalUnit& unit, Task& task, bool abort) {
    if (check_list(task) == Step::finished) return Step::finished;
    const Registration* registration = check_registered(unit, task);
    if (registration == nullptr) return Step::finished;
    const std::uint32_t self = registration->id;
    Reservations& held = unit.reservations;
    const std::uint64_t key = service_action_key(task);
    const bool all = is_all_registrants(held.type);
    const Registration* holder = held.find(held.holder);
    const bool takes_over = all ? key == 0 : holder != nullptr && holder->key == key;
    if (takes_over) {
        if (!is_valid_type(task)) return fail_cdb_field(task, 2);
        const ReservationType old_type = held.type;
        preempt_registrations(unit, task, self, abort,
                              [&](const Registration& each) { return all || each.key == key; });
        hold(held, requested_type(task), self);
        if (is_registrants_only(old_type) && held.type != old_type)
            warn_registered(unit, *task.nexus, attention::kReservationsReleased);
    } else {
        if (key == 0) return fail_parameter_field(task, kServiceActionKeyByte);
        const std::size_t matched = preempt_registrations(
            unit, task, self, abort, [&](const Registration& each) { return each.key == key; });
        if (matched == 0) return conflict(task);
    }
    ++held.generation;
    return Step::finished;
}

}  // namespace

Step execute_preempt(LogicalUnit& unit, Task& task) noexcept { return preempt(unit, task, false); }

Step execute_preempt_and_abort(LogicalUnit& unit, Task& task) noexcept {
    return preempt(unit, task, true);
}

// 5.12.8: the reservation goes to another port, which is registered with a key of the mover's
// choice.
Step execute_register_and_move(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kUnregister = 0x02;
    constexpr std::uint8_t kPersistThroughPowerLoss = 0x01;
    Reservations& held = unit.reservations;
    if (task.offered_out < task.data_out_length)
        return fail(task, sense::kParameterListLengthError);
    const Registration* mover = check_registered(unit, task);
    if (mover == nullptr) return Step::finished;
    const std::uint32_t mover_id = mover->id;
    if (!held.is_holder(mover_id) || is_all_registrants(held.type)) return conflict(task);
    if (task.cdb[2] != static_cast<std::uint8_t>(held.type)) return fail_cdb_field(task, 2);
    const std::uint64_t key = service_action_key(task);
    if (key == 0) return fail_parameter_field(task, kServiceActionKeyByte);
    const std::uint8_t flags = task.buffer[17];
    if ((flags & kPersistThroughPowerLoss) != 0) return fail_parameter_field(task, 17);
    const std::uint16_t target_port = load_be16(task.buffer + 18);
    if (target_port != task.nexus->portal_group_tag) return fail_parameter_field(task, 18);
    if (load_be32(task.buffer + 20) != task.data_out_length - kBasicListBytes)
        return fail(task, sense::kParameterListLengthError);
    const auto port =
        decode_transport_id(Bytes(task.buffer, task.data_out_length).subspan(kBasicListBytes));
    if (!port || *port == task.nexus->initiator_port) return fail_parameter_field(task, 24);
    Registration* receiver = held.find(*port, target_port);
    if (receiver == nullptr) receiver = add_registration(unit, *port, target_port, key);
    if (receiver == nullptr) return fail(task, sense::kInsufficientRegistrationResources);
    receiver->key = key;
    held.holder = receiver->id;
    if ((flags & kUnregister) != 0) drop_registration(unit, mover_id);
    ++held.generation;
    return Step::finished;
}

}  // namespace goldlink::scsi
