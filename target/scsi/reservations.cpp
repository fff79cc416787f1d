#include "target/scsi/reservations.hpp"

#include <algorithm>

namespace goldlink::scsi {

bool is_valid_type(std::uint8_t type) { return type == 1 || type == 3 || (type >= 5 && type <= 8); }

bool is_all_registrants(ReservationType type) {
    return type == ReservationType::write_exclusive_all_registrants ||
           type == ReservationType::exclusive_access_all_registrants;
}

bool is_registrants_only(ReservationType type) {
    return type == ReservationType::write_exclusive_registrants_only ||
           type == ReservationType::exclusive_access_registrants_only || is_all_registrants(type);
}

Registration* Reservations::find(std::uint32_t id) {
    const auto it = std::ranges::find(registrations, id, &Registration::id);
    return it == registrations.end() ? nullptr : &*it;
}

Registration* Reservations::find(std::string_view initiator_port, std::uint16_t portal_group_tag) {
    const auto it = std::ranges::find_if(registrations, [&](const Registration& each) {
        return each.initiator_port == initiator_port &&
               (each.all_target_ports || each.portal_group_tag == portal_group_tag);
    });
    return it == registrations.end() ? nullptr : &*it;
}

bool Reservations::has_port(std::string_view initiator_port) const {
    return std::ranges::find(registrations, initiator_port, &Registration::initiator_port) !=
           registrations.end();
}

bool Reservations::is_holder(std::uint32_t registration) const {
    if (type == ReservationType::none || registration == 0) return false;
    return is_all_registrants(type) || registration == holder;
}

bool Reservations::conflicts(const Nexus& nexus, std::uint32_t registration, Under under) const {
    if (under == Under::any) return false;
    if (legacy_holder != nullptr) return legacy_holder != &nexus;
    if (under == Under::persistent || is_holder(registration)) return false;
    if (is_registrants_only(type) && registration != 0) return false;
    const bool exclusive_access = type == ReservationType::exclusive_access ||
                                  type == ReservationType::exclusive_access_registrants_only ||
                                  type == ReservationType::exclusive_access_all_registrants;
    return under == Under::write || exclusive_access;
}

}  // namespace goldlink::scsi
