#include "target/control/link_state.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/hex.hpp"
#include "common/json.hpp"
#include "target/iscsi/socket_address.hpp"

namespace goldlink::control {
namespace {

json::object to_json(const GenerationState& generation) {
    json::object o;
    o["number"] = generation.number;
    o["boot_id"] = generation.boot_id;
    o["initiator"] = generation.initiator;
    o["username"] = generation.username;
    o["secret"] = generation.secret;
    o["logged_in"] = generation.logged_in;
    o["os_logged_in"] = generation.os_logged_in;
    o["written"] = generation.written;
    json::array disks;
    for (const DiskState& disk : generation.disks)
        disks.push_back(json::object{{"lun", disk.lun},
                                     {"version", disk.version},
                                     {"policy", to_string(disk.policy)},
                                     {"quota_bytes", disk.quota_bytes},
                                     {"overlay", disk.overlay},
                                     {"type", to_string(disk.type)},
                                     {"logical_block_bytes", disk.logical_block_bytes},
                                     {"made", disk.made}});
    o["disks"] = std::move(disks);
    return o;
}

Result<DiskState> parse_disk(const json::value& item) {
    if (!item.is_object()) return failure(ErrorKind::corrupt, "a disk is no object");
    const json::object& o = item.get_object();
    DiskState disk;
    GOLDLINK_TRY_ASSIGN(const auto lun, json::int_field(o, "lun", 0, 255));
    disk.lun = static_cast<std::uint16_t>(lun);
    GOLDLINK_TRY_ASSIGN(disk.version, json::string_field(o, "version", 64, 64));
    GOLDLINK_TRY_ASSIGN(const auto policy, json::string_field(o, "policy", 1, 16));
    GOLDLINK_TRY_ASSIGN(disk.policy, parse_policy(policy));
    GOLDLINK_TRY_ASSIGN(const auto quota, json::int_field(o, "quota_bytes", 0, INT64_MAX));
    disk.quota_bytes = static_cast<std::uint64_t>(quota);
    GOLDLINK_TRY_ASSIGN(disk.type, type_field(o));
    GOLDLINK_TRY_ASSIGN(disk.logical_block_bytes, block_bytes_field(o));
    GOLDLINK_TRY_ASSIGN(disk.overlay, json::string_field(o, "overlay", 0, 64));
    GOLDLINK_TRY_ASSIGN(const auto made, json::optional_bool(o, "made"));
    disk.made = made.value_or(!disk.overlay.empty());  // programs of before did not say
    if ((disk.type == DiskType::cdrom) != disk.overlay.empty() ||
        disk.overlay.find('/') != std::string::npos || disk.overlay.starts_with('.'))
        return failure(ErrorKind::corrupt,
                       fmt::format("overlay '{}' is no folder name", disk.overlay));
    return disk;
}

Result<GenerationState> parse_generation(const json::object& o) {
    GenerationState generation;
    GOLDLINK_TRY_ASSIGN(const auto number, json::int_field(o, "number", 1, INT64_MAX));
    generation.number = static_cast<std::uint64_t>(number);
    GOLDLINK_TRY_ASSIGN(generation.boot_id, json::string_field(o, "boot_id", 0, 64));
    GOLDLINK_TRY_ASSIGN(generation.initiator, json::string_field(o, "initiator", 0, 223));
    GOLDLINK_TRY_ASSIGN(generation.username, json::string_field(o, "username", 0, 223));
    GOLDLINK_TRY_ASSIGN(generation.secret, json::string_field(o, "secret", 0, 255));
    GOLDLINK_TRY_ASSIGN(generation.logged_in, json::bool_field(o, "logged_in"));
    GOLDLINK_TRY_ASSIGN(generation.os_logged_in, json::bool_field(o, "os_logged_in"));
    GOLDLINK_TRY_ASSIGN(generation.written, json::bool_field(o, "written"));
    GOLDLINK_TRY_ASSIGN(const json::array disks, json::array_field(o, "disks", kMaxDisksPerLink));
    for (const json::value& item : disks) {
        GOLDLINK_TRY_ASSIGN(DiskState disk, parse_disk(item));
        generation.disks.push_back(std::move(disk));
    }
    return generation;
}

std::array<std::uint8_t, SHA256_DIGEST_LENGTH> identity_hash(std::string_view link_id,
                                                             std::uint16_t lun) {
    const std::string text = fmt::format("goldlink-disk:{}:{}", link_id, lun);
    std::array<std::uint8_t, SHA256_DIGEST_LENGTH> hash{};
    const Bytes bytes = as_bytes(text);
    ::SHA256(bytes.data(), bytes.size(), hash.data());
    return hash;
}

}  // namespace

void note_made(GenerationState& generation) {
    for (DiskState& disk : generation.disks) disk.made = !disk.overlay.empty();
}

void forget_lost_overlays(GenerationState& generation) {
    for (DiskState& disk : generation.disks)
        if (disk.policy == disk::Policy::discard) disk.made = false;
}

bool LinkState::refers_to(std::string_view version) const {
    const auto uses = [version](const DiskState& disk) { return disk.version == version; };
    return definition.refers_to(version) ||
           std::any_of(current.disks.begin(), current.disks.end(), uses) ||
           (pending && std::any_of(pending->disks.begin(), pending->disks.end(), uses));
}

std::uint64_t LinkState::next_number() const {
    return std::max(current.number, pending ? pending->number : 0) + 1;
}

boost::json::object LinkState::to_json() const {
    json::object o;
    o["definition"] = definition.to_json(true);
    o["current"] = control::to_json(current);
    if (pending)
        o["pending"] = control::to_json(*pending);
    else
        o["pending"] = nullptr;
    o["redirect"] = redirect_json(redirect);
    return o;
}

Result<LinkState> LinkState::parse(const boost::json::object& o) {
    LinkState state;
    GOLDLINK_TRY_ASSIGN(const json::object definition, json::object_field(o, "definition"));
    GOLDLINK_TRY_ASSIGN(state.definition, LinkDefinition::parse(definition));
    GOLDLINK_TRY_ASSIGN(const json::object current, json::object_field(o, "current"));
    GOLDLINK_TRY_ASSIGN(state.current, parse_generation(current));
    const json::value* pending = o.if_contains("pending");
    if (pending != nullptr && pending->is_object()) {
        GOLDLINK_TRY_ASSIGN(state.pending, parse_generation(pending->get_object()));
    }
    const json::value* redirect = o.if_contains("redirect");
    if (redirect != nullptr && redirect->is_object()) {
        GOLDLINK_TRY_ASSIGN(state.redirect, parse_redirect(redirect->get_object()));
    }
    return state;
}

Result<iscsi::Redirect> parse_redirect(const boost::json::object& o) {
    GOLDLINK_TRY(json::only_fields(o, {"portal", "permanent"}));
    GOLDLINK_TRY_ASSIGN(const auto text, json::string_field(o, "portal", 1, 80));
    GOLDLINK_TRY_ASSIGN(const auto address, iscsi::SocketAddress::parse(text));
    GOLDLINK_TRY_ASSIGN(const auto permanent, json::optional_bool(o, "permanent"));
    iscsi::Redirect redirect{address.to_string(), permanent.value_or(false)};
    if (address.is_wildcard() || redirect.portal.ends_with(":0"))
        return failure(ErrorKind::invalid,
                       fmt::format("initiators cannot be sent to '{}'; name one address and port",
                                   redirect.portal));
    return redirect;
}

boost::json::value redirect_json(const std::optional<iscsi::Redirect>& redirect) {
    if (!redirect) return nullptr;
    return json::object{{"portal", redirect->portal}, {"permanent", redirect->permanent}};
}

namespace {

DiskState new_disk(const DiskDefinition& wanted, std::uint64_t number) {
    return {wanted.lun,
            wanted.version,
            wanted.policy,
            wanted.quota_bytes,
            wanted.type == DiskType::cdrom ? "" : fmt::format("lun{}-g{}", wanted.lun, number),
            wanted.type,
            wanted.logical_block_bytes};
}

}  // namespace

GenerationState plan_generation(const LinkDefinition& definition, const GenerationState* previous,
                                std::uint64_t number, bool fresh) {
    GenerationState generation;
    generation.number = number;
    for (const DiskDefinition& wanted : definition.disks) {
        DiskState disk = new_disk(wanted, number);
        if (previous != nullptr && !fresh && wanted.policy != disk::Policy::discard) {
            for (const DiskState& old : previous->disks) {
                if (old.lun == wanted.lun && old.policy == wanted.policy &&
                    old.version == wanted.version && old.type == wanted.type &&
                    old.logical_block_bytes == wanted.logical_block_bytes) {
                    disk.overlay = old.overlay;
                    disk.made = old.made;
                }
            }
        }
        generation.disks.push_back(std::move(disk));
    }
    return generation;
}

GenerationState plan_renewal(const LinkDefinition& definition, const GenerationState& previous,
                             std::uint64_t number, std::uint16_t lun) {
    GenerationState generation;
    generation.number = number;
    for (const DiskDefinition& wanted : definition.disks) {
        DiskState disk = new_disk(wanted, number);
        for (const DiskState& old : previous.disks)
            if (wanted.lun != lun && old.lun == wanted.lun) disk = old;
        generation.disks.push_back(std::move(disk));
    }
    return generation;
}

bool carries_overlay(const GenerationState& generation, std::optional<std::uint16_t> lun) {
    return std::any_of(
        generation.disks.begin(), generation.disks.end(), [lun](const DiskState& disk) {
            return disk.policy != disk::Policy::discard && lun.value_or(disk.lun) == disk.lun;
        });
}

std::string serial_number(std::string_view link_id, std::uint16_t lun) {
    return to_hex(identity_hash(link_id, lun)).substr(0, 20);
}

std::uint64_t naa_identifier(std::string_view link_id, std::uint16_t lun) {
    const auto hash = identity_hash(link_id, lun);
    return (load_be64(hash.data()) & 0x0fff'ffff'ffff'ffffULL) | 0x3000'0000'0000'0000ULL;
}

}  // namespace goldlink::control
