// PUT of links: made, or brought to what they are wanted to be.
#include <fmt/format.h>

#include <algorithm>

#include "common/log.hpp"
#include "target/control/link_refusal.hpp"

namespace goldlink::control {
namespace {

// What the initiator would notice on the running generation: only possible with nobody logged in.
bool changes_structure(const LinkDefinition& old, const LinkDefinition& wanted) {
    if (old.iqn != wanted.iqn || old.disks.size() != wanted.disks.size()) return true;
    for (const DiskDefinition& before : old.disks) {
        const DiskDefinition* after = wanted.find_disk(before.lun);
        if (after == nullptr || after->policy != before.policy || after->type != before.type ||
            after->logical_block_bytes != before.logical_block_bytes)
            return true;
        if (before.policy != disk::Policy::discard && after->version != before.version) return true;
    }
    return false;
}

bool differs_from_current(const GenerationState& current, const LinkDefinition& wanted) {
    for (const DiskState& disk : current.disks) {
        const DiskDefinition* definition = wanted.find_disk(disk.lun);
        if (definition == nullptr || definition->version != disk.version ||
            definition->policy != disk.policy || definition->type != disk.type ||
            definition->logical_block_bytes != disk.logical_block_bytes)
            return true;
    }
    return current.disks.size() != wanted.disks.size();
}

}  // namespace

OperationResult<LinkTable::LinkPointer> LinkTable::reserve(const LinkDefinition& definition) {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, link] : links_)
        if (id != definition.id && link->state.definition.iqn == definition.iqn)
            return refuse(ErrorKind::conflict, "iqn-in-use",
                          fmt::format("{} is the name of link {} already", definition.iqn, id));
    const auto it = links_.find(definition.id);
    if (it != links_.end()) {
        const std::uint64_t held = it->second->state.definition.revision;
        if (definition.revision < held)
            return refuse(ErrorKind::conflict, "stale-revision",
                          fmt::format("link {} is at revision {}, later than the {} given",
                                      definition.id, held, definition.revision));
        return it->second;
    }
    if (leaving_.contains(definition.id))
        return refuse(
            ErrorKind::conflict, "link-leaving",
            fmt::format("link {} is just being removed; try again in a moment", definition.id));
    if (links_.size() >= kMaxLinks)
        return refuse(ErrorKind::exhausted, "too-many-links",
                      fmt::format("this target has its most links, {}", kMaxLinks));
    LinkPointer link = make_link(definition.id);
    link->state.definition = definition;
    return link;
}

OperationResult<LinkView> LinkTable::put(const LinkDefinition& definition) {
    for (;;) {
        auto reserved = reserve(definition);
        if (!reserved) return tl::unexpected(std::move(reserved).error());
        const LinkPointer link = *reserved;
        const std::lock_guard operation(link->operation);
        {
            const std::lock_guard lock(mutex_);
            if (link->removed) continue;  // removed while we waited for our turn: made anew
            revision_ = std::max(revision_, definition.revision);
        }
        if (auto applied = apply(link, definition); !applied)
            return tl::unexpected(std::move(applied).error());
        if (auto saved = save(); !saved) return tl::unexpected(std::move(saved).error());
        return view_of(link);
    }
}

OperationResult<> LinkTable::check_change(const LinkState& old, const LinkDefinition& wanted,
                                          const LinkReport& report, const LinkPointer& link) {
    if (!report.sessions.empty())
        return refuse(
            ErrorKind::conflict, "link-in-use",
            fmt::format(
                "link {} is in use by {}; its name, disks and policies can change only when "
                "nobody is logged in",
                link->id, initiators_of(report)));
    std::string blocked;
    if (!report.open)
        // What it holds is not known, so it is not given up for another.
        for (const DiskState& disk : old.current.disks) {
            const DiskDefinition* after = wanted.find_disk(disk.lun);
            const bool carried = after != nullptr && after->policy == disk.policy &&
                                 after->version == disk.version && after->type == disk.type &&
                                 after->logical_block_bytes == disk.logical_block_bytes;
            std::error_code unknown;
            if (disk.policy != disk::Policy::discard && !carried && !disk.overlay.empty() &&
                std::filesystem::exists(settings_.folder(link->id, disk.overlay), unknown))
                blocked = fmt::format("the {} overlay of lun {} of link {} cannot be opened ({})",
                                      to_string(disk.policy), disk.lun, link->id, report.problem);
        }
    link->live->reactor().run_and_wait([&] {
        if (!link->live->units()) return;
        for (const auto& disk : link->live->units()->disks()) {
            const DiskDefinition* after = wanted.find_disk(disk->state.lun);
            const bool carried = after != nullptr && after->policy == disk->state.policy &&
                                 after->version == disk->state.version &&
                                 after->logical_block_bytes == disk->state.logical_block_bytes;
            if (disk->state.policy != disk::Policy::discard && !carried &&
                disk->disk->usage().used_bytes > 0)
                blocked = fmt::format(
                    "the {} overlay of lun {} of link {} holds {} bytes over version {}",
                    to_string(disk->state.policy), disk->state.lun, old.definition.id,
                    disk->disk->usage().used_bytes, disk->state.version);
        }
    });
    if (!blocked.empty())
        return refuse(ErrorKind::conflict, "overlay-has-blocks",
                      blocked + "; reset the link first, which drops them, or commit them");
    return {};
}

// A quota applies at once, also to a client that runs.
void LinkTable::follow_quotas(const LinkPointer& link, const LinkDefinition& wanted) {
    bool changed = false;
    const auto follow = [&](GenerationState& generation) {
        for (DiskState& disk : generation.disks) {
            const DiskDefinition* const definition = wanted.find_disk(disk.lun);
            if (definition == nullptr || definition->quota_bytes == disk.quota_bytes) continue;
            disk.quota_bytes = definition->quota_bytes;
            changed = true;
        }
    };
    {
        const std::lock_guard lock(mutex_);
        follow(link->state.current);
        if (link->state.pending) follow(*link->state.pending);
    }
    if (!changed) return;
    (void)run_on(link, [&](LiveLink& live) -> Result<> {
        for (const DiskDefinition& disk : wanted.disks) live.set_quota(disk.lun, disk.quota_bytes);
        return {};
    });
}

OperationResult<> LinkTable::apply(const LinkPointer& link, const LinkDefinition& wanted) {
    const LinkState old = state_of(link);
    if (old.current.number == 0) {
        const auto found = take_back_unnamed(link->id) ? generation_in_folder(wanted)
                                                       : found_generation(wanted);
        open_current(link, found ? *found : plan_generation(wanted, nullptr, 1, true), false);
        return {};
    }
    if (auto usable = check_usable(link); !usable) return usable;
    for (const DiskDefinition& disk : wanted.disks) {
        const DiskDefinition* const before = old.definition.find_disk(disk.lun);
        if (before != nullptr && before->version != disk.version)
            traces_.follow(disk.version, before->version);
    }
    LinkReport report;
    link->live->reactor().run_and_wait([&] { report = link->live->report(); });
    if (!report.open)
        if (const auto found = found_generation(wanted)) {
            {
                const std::lock_guard lock(mutex_);
                link->state.definition = wanted;
                link->state.pending.reset();
            }
            open_current(link, *found, true);
            return {};
        }
    const bool structure = changes_structure(old.definition, wanted);
    // Nobody has ever seen the current generation: it may as well be of the version wanted now.
    const bool unseen = !structure && report.open && !old.current.logged_in &&
                        differs_from_current(old.current, wanted);
    const LoginHold hold(*link->live, "a change", [&] {
        report = link->live->report();
        return (structure || unseen) && report.sessions.empty();
    });
    if (structure) {
        if (auto allowed = check_change(old, wanted, report, link); !allowed) return allowed;
    }
    {
        const std::lock_guard lock(mutex_);
        link->state.definition = wanted;
        if (structure) link->state.pending.reset();
        list(link);
    }
    if (structure) {
        (void)run_on(link, [](LiveLink& live) -> Result<> {
            live.drop_pending();
            return {};
        });
        open_current(link, plan_generation(wanted, &old.current, old.next_number(), false), false);
        return {};
    }
    follow_quotas(link, wanted);
    const GenerationState current = state_of(link).current;
    if (!report.open) {
        // What was wrong may be mended: the same generation again, or the version wanted instead.
        const bool replan = differs_from_current(current, wanted);
        open_current(
            link,
            replan ? plan_generation(wanted, &old.current, old.next_number(), false) : current,
            true);
    } else if (unseen && !current.logged_in && report.sessions.empty() &&
               differs_from_current(current, wanted)) {
        open_current(link, plan_generation(wanted, &old.current, old.next_number(), false), false);
    }
    return {};
}

OperationResult<std::vector<LinkTable::SetProblem>> LinkTable::put_all(
    std::uint64_t revision, const std::vector<LinkDefinition>& definitions,
    std::optional<std::uint64_t> confirmed) {
    std::vector<std::string> gone;
    std::size_t kept = 0;
    {
        const std::lock_guard lock(mutex_);
        if (revision < revision_)
            return refuse(ErrorKind::conflict, "stale-revision",
                          fmt::format("this target is at revision {}, later than the {} given",
                                      revision_, revision));
        for (const auto& [id, link] : links_)
            if (std::none_of(
                    definitions.begin(), definitions.end(),
                    [&id](const LinkDefinition& definition) { return definition.id == id; })) {
                gone.push_back(id);
                if (carries_overlay(link->state.current, {})) ++kept;
            }
        if (kept > 1 && confirmed != gone.size())
            return refuse(ErrorKind::conflict, "mass-removal",
                          fmt::format("this set removes {} links, {} of them with disks that keep "
                                      "their changes; if that is meant, send it with "
                                      "confirm_removals {}",
                                      gone.size(), kept, gone.size()));
    }
    std::vector<SetProblem> problems;
    for (const std::string& id : gone)
        if (auto removed = remove(id); !removed) problems.push_back({id, removed.error().error});
    for (const LinkDefinition& definition : definitions) {
        auto reserved = reserve(definition);
        if (!reserved) {
            problems.push_back({definition.id, reserved.error().error});
            continue;
        }
        const std::lock_guard operation((*reserved)->operation);
        {
            const std::lock_guard lock(mutex_);
            if ((*reserved)->removed) continue;  // by another caller, later than this set
        }
        if (auto applied = apply(*reserved, definition); !applied)
            problems.push_back({definition.id, applied.error().error});
    }
    {
        const std::lock_guard lock(mutex_);
        revision_ = std::max(revision_, revision);
    }
    if (auto saved = save(); !saved) return tl::unexpected(std::move(saved).error());
    return problems;
}

}  // namespace goldlink::control
