// What the control API does to links that are there: boot, reset, redirect; and what such
// operations share.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/check.hpp"
#include "common/hex.hpp"
#include "common/log.hpp"
#include "target/control/link_refusal.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kRamShares = 16;
constexpr std::size_t kBootSecretLength = 16;  // what Windows takes at most

}  // namespace

std::string initiators_of(const LinkReport& report) {
    std::string names;
    for (const LiveSession& session : report.sessions)
        names += (names.empty() ? "" : ", ") + session.info.initiator_name + " at " +
                 session.info.address;
    return names;
}

Result<> LinkTable::run_on(const LinkPointer& link,
                           const std::function<Result<>(LiveLink&)>& work) {
    Result<> result;
    link->live->reactor().run_and_wait([&] { result = work(*link->live); });
    return result;
}

OperationResult<> LinkTable::save() {
    if (auto saved = file_.save(); !saved)
        return refuse(
            std::move(saved).error().with_context("the change is in force but not saved"));
    return {};
}

Result<UnitsPlan> LinkTable::plan(const LinkPointer& link, const GenerationState& generation) {
    std::string iqn;
    std::size_t links = 0;
    {
        const std::lock_guard lock(mutex_);
        iqn = link->state.definition.iqn;
        links = links_.size();
    }
    bool overlays = false, ram = false;
    for (const DiskState& disk : generation.disks) {
        overlays = overlays || !disk.overlay.empty();
        ram = ram || (!disk.overlay.empty() && disk.policy == disk::Policy::discard);
    }
    if (overlays) GOLDLINK_TRY(settings_.check_folders(ram));
    GOLDLINK_TRY_ASSIGN(UnitsPlan made, plan_units(store_, link->id, iqn, generation, settings_));
    // A link's fair share, of a sixteenth at most, and of that each disk's: what an overlay has
    // taken it keeps until its end.
    const auto discarding = static_cast<std::size_t>(
        std::count_if(generation.disks.begin(), generation.disks.end(), [](const DiskState& disk) {
            return disk.policy == disk::Policy::discard && !disk.overlay.empty();
        }));
    made.ram_budget_bytes = settings_.ram_budget_bytes / std::max<std::size_t>(links, kRamShares) /
                            std::max<std::size_t>(discarding, 1);
    return made;
}

OperationResult<> LinkTable::check_usable(const LinkPointer& link) {
    {
        const std::lock_guard lock(mutex_);
        if (link->removed || link->state.current.number == 0) return no_such_link(link->id);
    }
    if (!link->busy_with.empty())
        return refuse(ErrorKind::conflict,
                      link->busy_with == "a commit" ? "commit-running" : "link-busy",
                      fmt::format("{} of link {} is running; wait for its end or cancel it",
                                  link->busy_with, link->id));
    return {};
}

// What has to be waited for (versions, overlays that are made or replayed) is done here; then `use`
// gets it on the link's reactor. Nobody else opens disks of the link meanwhile, but a login may
// make a prepared boot current and a save may let go of a disk: then once more, as what is open
// already must not be opened beside it.
Result<> LinkTable::open_on(const LinkPointer& link, const GenerationState& generation,
                            const std::function<void(LiveLink&, UnitsPlan)>& use) {
    for (;;) {
        GOLDLINK_TRY_ASSIGN(UnitsPlan plan, this->plan(link, generation));
        reactor::Reactor& reactor = link->live->reactor();
        reactor.run_and_wait([&] { plan.shared = link->live->shared(plan); });
        GOLDLINK_TRY(open_disks(plan, settings_, reactor.ring()));
        bool fits = false;
        reactor.run_and_wait([&] {
            fits = link->live->shared(plan) == plan.shared;
            if (fits) use(*link->live, std::move(plan));
        });
        if (fits) return {};
    }
}

// Opens `generation` as the link's current one; when that fails the link is listed with its
// problem.
void LinkTable::open_current(const LinkPointer& link, const GenerationState& generation,
                             bool unless_open) {
    bool is_open = false;
    if (unless_open)
        link->live->reactor().run_and_wait([&] { is_open = link->live->units() != nullptr; });
    Result<> opened;
    if (!is_open) {
        opened = open_on(link, generation, [](LiveLink& live, UnitsPlan plan) {
            live.replace_current(std::move(plan));
        });
        if (!opened)
            link->live->reactor().run_and_wait(
                [&] { link->live->set_problem(generation, opened.error().message); });
    }
    const std::lock_guard lock(mutex_);
    note_opened(link, generation, opened);
}

// The link runs as `generation` of `definition` from now on. That is on record before it happens:
// what it replaces is dropped behind it, and no restart must look for that any more.
OperationResult<> LinkTable::move_on(const LinkPointer& link, const LinkDefinition& definition,
                                     const GenerationState& generation) {
    LinkState before;
    {
        const std::lock_guard lock(mutex_);
        before = link->state;
        link->state.definition = definition;
        link->state.current = generation;
        link->state.pending.reset();
    }
    if (auto saved = file_.save(); !saved) {
        {
            const std::lock_guard lock(mutex_);
            link->state = std::move(before);
        }
        // The file may say either now; both are whole, and the next save says what is so.
        return refuse(std::move(saved).error().with_context(
            fmt::format("link {} stays what it was", link->id)));
    }
    (void)run_on(link, [](LiveLink& live) -> Result<> {
        live.drop_pending();
        return {};
    });
    open_current(link, generation, false);
    save_behind();  // that its overlays have been made
    return {};
}

OperationResult<BootAnswer> LinkTable::boot(std::string_view id, const BootRequest& request) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return tl::unexpected(std::move(usable).error());
    const LinkState state = state_of(link);
    GenerationState generation =
        plan_generation(state.definition, &state.current, state.next_number(), false);
    generation.boot_id = request.boot_id;
    generation.initiator = request.initiator;
    generation.username = fmt::format("{}-{}", link->id.substr(0, 8), generation.number);
    generation.secret = random_secret(kBootSecretLength);
    auto prepared = open_on(link, generation,
                            [](LiveLink& live, UnitsPlan plan) { live.prepare(std::move(plan)); });
    if (!prepared)
        return refuse(std::move(prepared).error().with_context(
            fmt::format("link {} ({}) cannot boot", link->id, state.definition.iqn)));
    note_made(generation);
    {
        const std::lock_guard lock(mutex_);
        link->state.pending = generation;
        list(link);
    }
    if (auto saved = save(); !saved) return tl::unexpected(std::move(saved).error());
    return BootAnswer{std::move(generation), state.definition.iqn};
}

OperationResult<> LinkTable::reset(std::string_view id, bool force,
                                   std::optional<std::uint16_t> lun) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return usable;
    if (lun && state_of(link).definition.find_disk(*lun) == nullptr)
        return refuse(ErrorKind::not_found, "no-such-lun",
                      fmt::format("link {} has no disk with lun {}", link->id, *lun));
    LinkReport report;
    LoginHold hold(*link->live, "a reset", [&] {
        report = link->live->report();
        return force || report.sessions.empty();
    });
    if (!report.sessions.empty() && !force)
        return refuse(
            ErrorKind::conflict, "link-in-use",
            fmt::format(
                "link {} is in use by {}; shut it down first, or reset with force, which pulls "
                "the disk from under it",
                link->id, initiators_of(report)));
    const LinkState state = state_of(link);
    // The boot's credential ends with its overlay: a system that still holds the old disk in memory
    // must not come back to the new one.
    const GenerationState generation =
        lun ? plan_renewal(state.definition, state.current, state.next_number(), *lun)
            : plan_generation(state.definition, &state.current, state.next_number(), true);
    usage_turns_.cancel(link->id);
    // A prepared boot that carries an overlay on would bring back what is dropped here.
    const bool drop_pending = carries_overlay(generation, lun);
    auto replaced = open_on(link, generation, [&](LiveLink& live, UnitsPlan plan) {
        if (drop_pending) live.drop_pending();
        live.replace_current(std::move(plan));
        hold.end();
    });
    if (!replaced)
        return refuse(std::move(replaced).error().with_context(
            fmt::format("link {} is not reset", link->id)));
    {
        const std::lock_guard lock(mutex_);
        if (drop_pending) link->state.pending.reset();
        note_opened(link, generation, {});
    }
    return save();
}

OperationResult<> LinkTable::redirect(std::string_view id, std::optional<iscsi::Redirect> to) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return usable;
    {
        const std::lock_guard lock(mutex_);
        link->state.redirect = std::move(to);
        list(link);
    }
    return save();
}

void LinkTable::retry_problems() {
    std::vector<LinkPointer> links;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, link] : links_) links.push_back(link);
    }
    for (const LinkPointer& link : links) {
        const std::lock_guard operation(link->operation);
        if (!check_usable(link)) continue;
        LinkReport report;
        link->live->reactor().run_and_wait([&] { report = link->live->report(); });
        if (!report.open) open_current(link, state_of(link).current, true);
    }
    save_behind();
}

}  // namespace goldlink::control
