// RESERVE(6) and RELEASE(6) (SPC-2 7.21, 7.16), and PERSISTENT RESERVE IN (SPC-4 6.15).
#include "target/scsi/commands.hpp"
#include "target/scsi/parameter_data.hpp"
#include "target/scsi/transport_id.hpp"

namespace goldlink::scsi {

namespace {

// Third-party and extent reservations, obsolete since SPC-2.
bool asks_for_obsolete(const Task& task) { return (task.cdb[1] & 0x11) != 0; }

}  // namespace

// SPC-4 5.12.3: no mixing; while there are registrations the old commands conflict (CRH is zero).
Step prepare_reserve_6(LogicalUnit& unit, Task& task) noexcept {
    if (asks_for_obsolete(task)) return fail_cdb_field(task, 1);
    if (!unit.reservations.registrations.empty())
        return fail_status(task, Status::reservation_conflict);
    return Step::pending;
}

Step execute_reserve_6(LogicalUnit& unit, Task& task) noexcept {
    Reservations& held = unit.reservations;
    if ((held.legacy_holder != nullptr && held.legacy_holder != task.nexus) ||
        !held.registrations.empty())
        return fail_status(task, Status::reservation_conflict);
    held.legacy_holder = task.nexus;
    return Step::finished;
}

Step prepare_release_6(LogicalUnit& unit, Task& task) noexcept {
    if (asks_for_obsolete(task)) return fail_cdb_field(task, 1);
    if (!unit.reservations.registrations.empty())
        return fail_status(task, Status::reservation_conflict);
    return Step::pending;
}

// Releasing what another holds, or nobody, is no error and no effect.
Step execute_release_6(LogicalUnit& unit, Task& task) noexcept {
    if (unit.reservations.legacy_holder == task.nexus) unit.reservations.legacy_holder = nullptr;
    return Step::finished;
}

Step prepare_persistent_reserve_in(LogicalUnit&, Task& task) noexcept {
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_read_keys(LogicalUnit& unit, Task& task) noexcept {
    const auto& registrations = unit.reservations.registrations;
    ParameterData data(task);
    data.be32(unit.reservations.generation);
    data.be32(static_cast<std::uint32_t>(registrations.size() * 8));
    for (const Registration& each : registrations) data.be64(each.key);
    return data.finish();
}

Step execute_read_reservation(LogicalUnit& unit, Task& task) noexcept {
    Reservations& held = unit.reservations;
    ParameterData data(task);
    data.be32(held.generation);
    if (held.type == ReservationType::none) {
        data.be32(0);
        return data.finish();
    }
    const Registration* holder = held.find(held.holder);
    data.be32(16);
    data.be64(holder != nullptr ? holder->key : 0);  // zero for the all-registrants types
    data.be32(0);
    data.u8(0);
    data.u8(static_cast<std::uint8_t>(held.type));  // scope 0: the logical unit
    data.be16(0);
    return data.finish();
}

Step execute_report_capabilities(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kSpecifiedPorts = 0x08;           // SIP_C
    constexpr std::uint8_t kAllTargetPorts = 0x04;           // ATP_C
    constexpr std::uint8_t kThroughPowerLossCapable = 0x01;  // PTPL_C
    constexpr std::uint8_t kThroughPowerLossActive = 0x01;   // PTPL_A
    constexpr std::uint8_t kTypeMaskValid = 0x80;            // TMV
    constexpr std::uint16_t kAllTypes = 0xEA01;
    ParameterData data(task);
    data.be16(8);
    const bool capable = unit.device->seams.save != nullptr;
    data.u8(static_cast<std::uint8_t>(kSpecifiedPorts | kAllTargetPorts |
                                      (capable ? kThroughPowerLossCapable : 0)));
    data.u8(static_cast<std::uint8_t>(kTypeMaskValid |
                                      (unit.reservations.persists ? kThroughPowerLossActive : 0)));
    data.be16(kAllTypes);
    data.be16(0);
    return data.finish();
}

Step execute_read_full_status(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kHolder = 0x01;          // R_HOLDER
    constexpr std::uint8_t kAllTargetPorts = 0x02;  // ALL_TG_PT
    const Reservations& held = unit.reservations;
    ParameterData data(task);
    data.be32(held.generation);
    data.be32(0);
    for (const Registration& each : held.registrations) {
        const bool holder = held.is_holder(each.id);
        data.be64(each.key);
        data.be32(0);
        data.u8(static_cast<std::uint8_t>((holder ? kHolder : 0) |
                                          (each.all_target_ports ? kAllTargetPorts : 0)));
        data.u8(holder ? static_cast<std::uint8_t>(held.type) : 0);
        data.be32(0);
        data.be16(each.all_target_ports ? 0 : each.portal_group_tag);
        const std::vector<std::uint8_t> id = encode_transport_id(each.initiator_port);
        data.be32(static_cast<std::uint32_t>(id.size()));
        data.bytes(id);
    }
    data.patch_be32(4, data.size() - 8);
    return data.finish();
}

}  // namespace goldlink::scsi
