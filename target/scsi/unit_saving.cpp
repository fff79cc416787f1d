#include "target/scsi/unit_saving.hpp"

#include "common/check.hpp"
#include "target/scsi/sense.hpp"
#include "target/scsi/task_set.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::size_t kTicket = 0;  // word of task.scratch

PersistentUnit persistent_state(const LogicalUnit& unit) {
    PersistentUnit state;
    const Reservations& held = unit.reservations;
    if (held.persists) {
        state.reservation_type = static_cast<std::uint8_t>(held.type);
        for (const Registration& each : held.registrations)
            state.registrations.push_back({each.initiator_port, each.portal_group_tag, each.key,
                                           each.all_target_ports, each.id == held.holder});
    }
    state.sanitize = persistent_sanitize(unit.sanitize);
    return state;
}

}  // namespace

bool is_possible(const PersistentUnit& state) {
    const auto& registrations = state.registrations;
    if (registrations.size() > Reservations::kMaxRegistrations) return false;
    const auto type = static_cast<ReservationType>(state.reservation_type);
    if (type != ReservationType::none && !is_valid_type(state.reservation_type)) return false;
    const auto holders = std::ranges::count_if(registrations, &PersistentRegistration::holder);
    const bool one_holder = type != ReservationType::none && !is_all_registrants(type);
    if (holders != (one_holder ? 1 : 0)) return false;
    if (is_all_registrants(type) && registrations.empty()) return false;
    return std::ranges::all_of(registrations, [](const PersistentRegistration& each) {
        return each.key != 0 && !each.initiator_port.empty();
    });
}

std::uint64_t begin_save(LogicalUnit& unit) {
    const std::uint64_t ticket = ++unit.last_save;
    unit.device->seams.save(unit.lun, persistent_state(unit), ticket);
    return ticket;
}

Step answer_when_saved(LogicalUnit& unit, Task& task) {
    task.scratch[kTicket] = begin_save(unit);
    unit.saving.push_back(&task);
    return Step::pending;
}

void saved(LogicalUnit& unit, std::uint64_t ticket, bool ok) noexcept {
    sanitize_saved(unit, ticket, ok);
    const auto at = std::ranges::find_if(
        unit.saving, [&](const Task* task) { return task->scratch[kTicket] == ticket; });
    if (at == unit.saving.end()) return;
    Task& task = **at;
    unit.saving.erase(at);
    if (!ok) fail(task, sense::kInternalTargetFailure);
    leave_task_set(unit, task);
    task.complete(task);
}

void restore(LogicalUnit& unit, const PersistentUnit& state) {
    CHECK(is_possible(state), "a logical unit was never in such a state");
    Reservations& held = unit.reservations;
    held.persists = !state.registrations.empty();
    held.type = static_cast<ReservationType>(state.reservation_type);
    for (const PersistentRegistration& each : state.registrations) {
        Registration& added = held.registrations.emplace_back();
        added.id = held.next_id++;
        added.initiator_port = each.initiator_port;
        added.portal_group_tag = each.portal_group_tag;
        added.key = each.key;
        added.all_target_ports = each.all_target_ports;
        if (each.holder) held.holder = added.id;
    }
    if (state.sanitize) restore_sanitize(unit, *state.sanitize);
}

}  // namespace goldlink::scsi
