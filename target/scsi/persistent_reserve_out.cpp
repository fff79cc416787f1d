// PERSISTENT RESERVE OUT (SPC-4 6.16, 5.12): one function a service action; those that register are
// in persistent_register.cpp.
#include "target/scsi/commands.hpp"
#include "target/scsi/persistent_reserve.hpp"
#include "target/scsi/unit_saving.hpp"

namespace goldlink::scsi {

namespace {

using namespace persistent;

ReservationType requested_type(const Task& task) {
    return static_cast<ReservationType>(task.cdb[2] & 0x0F);
}

// SCOPE must be zero, the logical unit.
bool asks_for_valid_type(const Task& task) { return scsi::is_valid_type(task.cdb[2]); }

// Every live nexus of a port sees its registration (or that it has none any more).
void tell_nexuses(LogicalUnit& unit, const Registration& registration, std::uint32_t id) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses)
        if (nexus.initiator_port == registration.initiator_port &&
            (registration.all_target_ports ||
             nexus.portal_group_tag == registration.portal_group_tag))
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

void hold(Reservations& held, ReservationType type, std::uint32_t registration) {
    held.type = type;
    held.holder = is_all_registrants(type) ? 0 : registration;
}

// For actions that leave persistence as it is.
Step answer(LogicalUnit& unit, Task& task) {
    return persistent::answer(unit, task, unit.reservations.persists);
}

}  // namespace

namespace persistent {

Registration* check_registered(LogicalUnit& unit, Task& task) {
    Registration* registration = unit.reservations.find(nexus_unit_of(task).registration);
    if (registration == nullptr || registration->key != reservation_key(task)) {
        conflict(task);
        return nullptr;
    }
    return registration;
}

Registration* add_registration(LogicalUnit& unit, Registration registration) {
    Reservations& held = unit.reservations;
    if (held.registrations.size() >= Reservations::kMaxRegistrations) return nullptr;
    registration.id = held.next_id++;
    Registration& added = held.registrations.emplace_back(std::move(registration));
    tell_nexuses(unit, added, added.id);
    return &added;
}

void drop_registration(LogicalUnit& unit, std::uint32_t id) {
    Reservations& held = unit.reservations;
    if (const Registration* registration = held.find(id)) tell_nexuses(unit, *registration, 0);
    std::erase_if(held.registrations, [&](const Registration& each) { return each.id == id; });
}

void unregister(LogicalUnit& unit, const Nexus& issuer, std::uint32_t id) {
    Reservations& held = unit.reservations;
    const bool was_holder = held.is_holder(id);
    const bool all = is_all_registrants(held.type);
    drop_registration(unit, id);
    if (was_holder && (!all || held.registrations.empty())) release_reservation(unit, issuer);
}

Step answer(LogicalUnit& unit, Task& task, bool persisted) {
    return persisted || unit.reservations.persists ? answer_when_saved(unit, task) : Step::finished;
}

}  // namespace persistent

Step prepare_persistent_reserve_out(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kRegister = 0x00;
    constexpr std::uint8_t kRegisterAndMove = 0x07;
    const std::uint32_t length = load_be32(&task.cdb[5]);
    const std::uint8_t action = task.cdb[1] & 0x1F;
    const bool lists_ports = action == kRegister || action == kRegisterAndMove;
    if (length < kBasicListBytes || length > (lists_ports ? kMaxListBytes : kBasicListBytes))
        return fail(task, sense::kParameterListLengthError);
    if (unit.reservations.legacy_holder != nullptr) return conflict(task);
    task.data_out_length = length;
    return Step::pending;
}

Step execute_reserve(LogicalUnit& unit, Task& task) noexcept {
    const Registration* self = check_registered(unit, task);
    if (self == nullptr) return Step::finished;
    if (!asks_for_valid_type(task)) return fail_cdb_field(task, 2);
    Reservations& held = unit.reservations;
    if (held.type == ReservationType::none) {
        hold(held, requested_type(task), self->id);
        return answer(unit, task);
    }
    const bool same = held.is_holder(self->id) && held.type == requested_type(task);
    return same ? Step::finished : conflict(task);
}

Step execute_release(LogicalUnit& unit, Task& task) noexcept {
    const Registration* self = check_registered(unit, task);
    if (self == nullptr) return Step::finished;
    if (!unit.reservations.is_holder(self->id)) return Step::finished;
    if (task.cdb[2] != static_cast<std::uint8_t>(unit.reservations.type))
        return fail(task, sense::kInvalidReleaseOfPersistentReservation);
    release_reservation(unit, *task.nexus);
    return answer(unit, task);
}

Step execute_clear(LogicalUnit& unit, Task& task) noexcept {
    if (check_registered(unit, task) == nullptr) return Step::finished;
    warn_registered(unit, *task.nexus, attention::kReservationsPreempted);
    Reservations& held = unit.reservations;
    drop_reservation(held);
    while (!held.registrations.empty()) drop_registration(unit, held.registrations.back().id);
    ++held.generation;
    return answer(unit, task);
}

namespace {

void abort_tasks_of(LogicalUnit& unit, std::uint32_t registration, const Task& issuer) {
    for (Task* task = unit.first_task; task != nullptr; task = task->next)
        if (task != &issuer && nexus_unit_of(*task).registration == registration)
            task->aborted = true;
}

// SPC-4 6.14: who is preempted with PREEMPT AND ABORT prevents the medium's removal no longer.
void allow_removal(LogicalUnit& unit, std::uint32_t registration) {
    const auto index = static_cast<std::size_t>(&unit - unit.device->units.data());
    for (Nexus& nexus : unit.device->nexuses)
        if (nexus.units[index].registration == registration)
            nexus.units[index].prevents_removal = false;
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
        if (abort) {
            abort_tasks_of(unit, id, task);
            allow_removal(unit, id);
        }
        warn_port(unit, id, attention::kRegistrationsPreempted);
        drop_registration(unit, id);
    }
    return matched;
}

// 5.12.11.4 and 5.12.11.5
Step preempt(LogicalUnit& unit, Task& task, bool abort) {
    const Registration* registration = check_registered(unit, task);
    if (registration == nullptr) return Step::finished;
    const std::uint32_t self = registration->id;
    Reservations& held = unit.reservations;
    const std::uint64_t key = service_action_key(task);
    const bool all = is_all_registrants(held.type);
    const Registration* holder = held.find(held.holder);
    const bool takes_over = all ? key == 0 : holder != nullptr && holder->key == key;
    if (takes_over) {
        if (!asks_for_valid_type(task)) return fail_cdb_field(task, 2);
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
    return answer(unit, task);
}

}  // namespace

Step execute_preempt(LogicalUnit& unit, Task& task) noexcept { return preempt(unit, task, false); }

Step execute_preempt_and_abort(LogicalUnit& unit, Task& task) noexcept {
    return preempt(unit, task, true);
}

}  // namespace goldlink::scsi
