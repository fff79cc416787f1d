// LinkState: a link as it is persisted: its definition, the generation that runs and the one that a
// boot has prepared beside it. Values only; pure planning of what the next generation is made of.
//
// A disk of policy discard has a new overlay in each generation; keep and super carry theirs on. An
// overlay is named by lun and the generation that made it ("lun0-g4"), so that a restart between a
// login and its persisting finds the same overlay again and no acknowledged write is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "target/control/link_definition.hpp"

namespace boost::json {
class value;
}

namespace goldlink::control {

struct DiskState {
    std::uint16_t lun = 0;
    std::string version;
    disk::Policy policy = disk::Policy::discard;
    std::uint64_t quota_bytes = 0;
    std::string overlay;  // folder name below the link's; "": it has none (a CD-ROM)
    DiskType type = DiskType::disk;
    std::uint32_t logical_block_bytes = 512;
    // Its overlay has been made and is there, or is missed: nobody makes it a second time.
    bool made = false;

    bool operator==(const DiskState&) const = default;
};

struct GenerationState {
    std::uint64_t number = 0;
    std::string boot_id;    // "" when no boot made it (created, reset)
    std::string initiator;  // the boot's initiator name; "" when not stated
    std::string username;   // the boot's one-time credential; "" when no boot made it
    std::string secret;
    std::vector<DiskState> disks;
    // What has happened in it already, so that a reconnect is told from a boot's stages.
    bool logged_in = false;
    bool os_logged_in = false;
    bool written = false;

    bool operator==(const GenerationState&) const = default;
};

struct LinkState {
    LinkDefinition definition;
    GenerationState current;
    std::optional<GenerationState> pending;
    // Of this node, not of the registry: a definition put again leaves it.
    std::optional<iscsi::Redirect> redirect;

    bool operator==(const LinkState&) const = default;

    bool refers_to(std::string_view version) const;
    std::uint64_t next_number() const;

    boost::json::object to_json() const;  // with secrets: for the state file
    static Result<LinkState> parse(const boost::json::object& o);
};

// All its overlays have been opened, so they are there.
void note_made(GenerationState& generation);
// After a restart of the machine: discard overlays, which are never synced, begin empty.
void forget_lost_overlays(GenerationState& generation);

// {"portal": "10.0.0.2:3260" or "[2001:db8::2]:3260", "permanent": false}, in the spelling that
// connections report.
Result<iscsi::Redirect> parse_redirect(const boost::json::object& o);
boost::json::value redirect_json(const std::optional<iscsi::Redirect>& redirect);

// The generation after `previous` for a definition: `fresh` gives every disk a new overlay, else
// keep and super disks of unchanged policy and version carry theirs on.
GenerationState plan_generation(const LinkDefinition& definition, const GenerationState* previous,
                                std::uint64_t number, bool fresh);
// The generation after `previous` when one disk starts anew: it alone has a new overlay, all others
// stay what they are, discard ones too.
GenerationState plan_renewal(const LinkDefinition& definition, const GenerationState& previous,
                             std::uint64_t number, std::uint16_t lun);

// Whether what was written to it outlives a boot; `lun`: looks at that disk only.
bool carries_overlay(const GenerationState& generation, std::optional<std::uint16_t> lun);

// Stable for the life of a link: drive letters and drivers hang on it.
std::string serial_number(std::string_view link_id, std::uint16_t lun);  // 20 characters
std::uint64_t naa_identifier(std::string_view link_id,
                             std::uint16_t lun);  // NAA 3h, locally assigned

}  // namespace goldlink::control
