#include "target/control/unit_state_file.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>

#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "target/disk/link_disk.hpp"

namespace goldlink::control {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMaxBytes = 256 << 10;
constexpr std::size_t kMaxRegistrations = 1024;  // the device's own bound is lower
constexpr std::size_t kMaxPortName = 1024;       // 243 bytes, each perhaps replaced by three
constexpr std::size_t kMaxPatternHex = 2 * 4096;

Result<scsi::PersistentRegistration> parse_registration(const json::value& item) {
    if (!item.is_object()) return failure(ErrorKind::corrupt, "a registration is no object");
    const json::object& o = item.get_object();
    scsi::PersistentRegistration registration;
    GOLDLINK_TRY_ASSIGN(registration.initiator_port,
                        json::string_field(o, "initiator_port", 1, kMaxPortName));
    GOLDLINK_TRY_ASSIGN(const auto tag, json::int_field(o, "portal_group_tag", 0, 65535));
    registration.portal_group_tag = static_cast<std::uint16_t>(tag);
    GOLDLINK_TRY_ASSIGN(const auto key, json::string_field(o, "key", 16, 16));
    const auto [end, error] =
        std::from_chars(key.data(), key.data() + key.size(), registration.key, 16);
    if (error != std::errc() || end != key.data() + key.size())
        return failure(ErrorKind::corrupt, "key: not 16 hex digits");
    GOLDLINK_TRY_ASSIGN(registration.all_target_ports, json::bool_field(o, "all_target_ports"));
    GOLDLINK_TRY_ASSIGN(registration.holder, json::bool_field(o, "holder"));
    return registration;
}

Result<scsi::PersistentSanitize> parse_sanitize(const json::object& o) {
    scsi::PersistentSanitize sanitize;
    GOLDLINK_TRY_ASSIGN(sanitize.failed, json::bool_field(o, "failed"));
    GOLDLINK_TRY_ASSIGN(sanitize.unrestricted, json::bool_field(o, "unrestricted"));
    GOLDLINK_TRY_ASSIGN(const auto pattern, json::string_field(o, "pattern", 0, kMaxPatternHex));
    GOLDLINK_TRY_ASSIGN(sanitize.pattern, from_hex(pattern));
    return sanitize;
}

}  // namespace

std::string unit_state_text(const scsi::PersistentUnit& state) {
    json::array registrations;
    for (const scsi::PersistentRegistration& each : state.registrations)
        registrations.push_back(json::object{{"initiator_port", each.initiator_port},
                                             {"portal_group_tag", each.portal_group_tag},
                                             {"key", fmt::format("{:016x}", each.key)},
                                             {"all_target_ports", each.all_target_ports},
                                             {"holder", each.holder}});
    json::object o{{"format", kFormat},
                   {"reservation_type", state.reservation_type},
                   {"registrations", std::move(registrations)}};
    if (state.sanitize)
        o["sanitize"] = json::object{{"failed", state.sanitize->failed},
                                     {"unrestricted", state.sanitize->unrestricted},
                                     {"pattern", to_hex(state.sanitize->pattern)}};
    return json::serialize(o);
}

Result<scsi::PersistentUnit> parse_unit_state(std::string_view text) {
    scsi::PersistentUnit state;
    // Names that are no UTF-8 could register once: the disk is worth more than their bytes.
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(as_utf8(std::string(text))));
    GOLDLINK_TRY(check_format(o, kFormat));
    GOLDLINK_TRY_ASSIGN(const auto type, json::int_field(o, "reservation_type", 0, 255));
    state.reservation_type = static_cast<std::uint8_t>(type);
    GOLDLINK_TRY_ASSIGN(const json::array items,
                        json::array_field(o, "registrations", kMaxRegistrations));
    for (const json::value& item : items) {
        GOLDLINK_TRY_ASSIGN(auto registration, parse_registration(item));
        state.registrations.push_back(std::move(registration));
    }
    if (o.contains("sanitize")) {
        GOLDLINK_TRY_ASSIGN(const json::object inner, json::object_field(o, "sanitize"));
        GOLDLINK_TRY_ASSIGN(state.sanitize, parse_sanitize(inner));
    }
    if (!is_possible(state))
        return failure(ErrorKind::corrupt, "the reservation and its registrations do not match");
    return state;
}

Result<> save_unit_state(const std::filesystem::path& overlay_folder,
                         const scsi::PersistentUnit& state) {
    return replace_file(overlay_folder / disk::kOwnerFile, unit_state_text(state), 0600);
}

Result<scsi::PersistentUnit> load_unit_state(const std::filesystem::path& overlay_folder) {
    const auto path = overlay_folder / disk::kOwnerFile;
    auto content = read_file(path, kMaxBytes);
    if (!content && content.error().kind == ErrorKind::not_found) return scsi::PersistentUnit{};
    auto state = content ? parse_unit_state(*content)
                         : Result<scsi::PersistentUnit>(Failure(std::move(content).error()));
    if (state) return state;
    Error error = std::move(state).error();
    error.kind = ErrorKind::corrupt;
    return Failure(std::move(error).with_context(
        fmt::format("{}, which keeps the disk's persistent reservations, cannot be understood; "
                    "restore it, or move it away, which gives them up",
                    path.string())));
}

}  // namespace goldlink::control
