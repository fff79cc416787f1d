// Rebase: a disk whose overlay persists goes on over another version, from which it starts afresh
// or over which its overlay is laid. Nobody may be logged in, and nobody gets in while it runs.
//
// The state file says what is current. The new generation has an overlay of a name of its own; one
// that carries written blocks on is made whole and durable first, then the state file names it with
// its version, and only then is the old one dropped. So whenever the target is killed it finds the
// old overlay over the old version or the new one over the new, and a task that ran again after
// that finds the disk on its new version and is done.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/log.hpp"
#include "target/control/held_disk.hpp"
#include "target/control/link_refusal.hpp"
#include "target/control/unit_state_file.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::control {
namespace {

std::string name_of(const store::Partition& partition) {
    return partition.number == 0 ? "what is outside of partitions"
                                 : fmt::format("partition {}", partition.number);
}

// What lies over a version that changed the same partition is a mixture of two file systems'
// states.
OperationResult<> check_overlap(const store::Overlap& overlap) {
    if (overlap.both_bytes == 0 && overlap.shared.empty()) return {};
    std::string where;
    for (std::size_t i = 0; i < std::min<std::size_t>(overlap.ranges.size(), 5); ++i)
        where += fmt::format("{}{} at byte {}", i == 0 ? "" : ", ", overlap.ranges[i].length_bytes,
                             overlap.ranges[i].offset_bytes);
    std::string what;
    if (overlap.both_bytes > 0)
        what = fmt::format("{}{} bytes in {} places ({}{})", overlap.exact ? "" : "at most ",
                           overlap.both_bytes, overlap.range_count, where,
                           overlap.range_count > 5 ? ", and more" : "");
    else
        what = name_of(overlap.shared.front().partition) + ", in different places";
    return refuse(
        ErrorKind::conflict, "overlap",
        fmt::format("the client and the new version both changed {}: what was written, laid over "
                    "that version, would be a mixture that no file system survives; start from "
                    "the new version instead, or force it",
                    what));
}

}  // namespace

// Null: the disk is on that version already.
OperationResult<std::shared_ptr<OpenDisk>> LinkTable::start_rebase(const LinkPointer& link,
                                                                   const RebaseRequest& request) {
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return tl::unexpected(std::move(usable).error());
    LinkReport report;
    std::shared_ptr<OpenDisk> disk;
    link->live->reactor().run_and_wait([&] {
        report = link->live->report();
        if (!report.open || !report.sessions.empty()) return;
        for (const auto& each : link->live->units()->disks())
            if (each->state.lun == request.lun && each->state.version == request.from &&
                request.from != request.to && each->state.policy != disk::Policy::discard)
                disk = each;
        if (disk) link->live->hold("a rebase");
    });
    if (disk) {
        link->busy_with = "a rebase";
        return disk;
    }
    if (!report.open)
        return refuse(ErrorKind::unavailable, "link-not-ready",
                      fmt::format("link {} is not ready: {}", link->id, report.problem));
    const auto found =
        std::find_if(report.disks.begin(), report.disks.end(),
                     [&](const LinkReport::Disk& each) { return each.state.lun == request.lun; });
    if (found == report.disks.end())
        return refuse(ErrorKind::not_found, "no-such-lun",
                      fmt::format("link {} has no disk with lun {}", link->id, request.lun));
    if (found->state.type != DiskType::disk || found->state.policy == disk::Policy::discard)
        return refuse(
            ErrorKind::conflict, "discard-disk",
            fmt::format("lun {} of link {} keeps nothing from one boot to the next, so it "
                        "takes a new version at its next boot by itself",
                        request.lun, link->id));
    if (found->state.version == request.to) return disk;  // done before a restart, or always
    if (found->state.version != request.from)
        return refuse(
            ErrorKind::conflict, "version-moved",
            fmt::format("lun {} of link {} is on version {} meanwhile, not on {}; look at "
                        "it again",
                        request.lun, link->id, found->state.version, request.from));
    return refuse(ErrorKind::conflict, "link-in-use",
                  fmt::format("link {} is in use by {} at {}; shut it down, then rebase", link->id,
                              report.sessions.front().info.initiator_name,
                              report.sessions.front().info.address));
}

// Looks at what both changed and, where that is wanted, makes the overlay over the new version.
OperationResult<LinkTable::Rebased> LinkTable::prepare_rebase(const LinkPointer& link,
                                                              const RebaseRequest& request,
                                                              std::shared_ptr<OpenDisk> disk,
                                                              const GenerationState& generation,
                                                              store::Progress& progress) {
    const DiskState old = disk->state;
    const auto folder_of = [&](const std::string& overlay) {
        return settings_.folder(link->id, overlay);
    };
    Rebased done{request.from, request.to, {}};
    std::shared_ptr<const store::Version> over;
    std::string overlay;
    auto plan = this->plan(link, generation);
    if (!plan) return refuse(std::move(plan).error());
    for (std::size_t i = 0; i < generation.disks.size(); ++i) {
        if (generation.disks[i].lun != request.lun) continue;
        over = plan->versions[i];
        overlay = generation.disks[i].overlay;
    }
    const auto look = [&](const HeldDisk& held) -> Result<> {
        GOLDLINK_TRY_ASSIGN(const auto base, store_.read_version(request.from));
        GOLDLINK_TRY_ASSIGN(const auto other, store_.read_version(request.to));
        GOLDLINK_TRY_ASSIGN(done.overlap,
                            store::overlap_of(held.snapshot().changed(), *base, *other, progress,
                                              old.logical_block_bytes));
        return {};
    };
    const auto carry = [&](const HeldDisk& held) -> Result<> {
        GOLDLINK_TRY(held.snapshot().carry_over(*over, folder_of(overlay)));
        GOLDLINK_TRY_ASSIGN(const auto unit, load_unit_state(folder_of(old.overlay)));
        return save_unit_state(folder_of(overlay), unit);
    };
    const std::uint64_t size_bytes = disk->disk->geometry().size_bytes;
    if (request.keep_written && over->size_bytes() < size_bytes)
        return refuse(ErrorKind::conflict, "smaller-version",
                      fmt::format("version {} has {} bytes, fewer than the {} of the disk",
                                  request.to, over->size_bytes(), size_bytes));
    // Of an attempt before this one: an overlay of this name begins empty, or is made here.
    if (auto cleared = disk::LinkDisk::destroy(folder_of(overlay), {}); !cleared)
        return refuse(std::move(cleared).error());
    if (auto flushed = flush_disk(link->live->reactor(), *disk); !flushed)
        return refuse(std::move(flushed).error());
    usage_turns_.give_way(link->id);
    auto held = hold_disk(link->live->reactor(), std::move(disk));
    if (!held) return refuse(std::move(held).error());
    if (auto looked = look(*held); !looked) return refuse(std::move(looked).error());
    if (!request.keep_written) return done;
    if (!request.force)
        if (auto allowed = check_overlap(*done.overlap); !allowed)
            return tl::unexpected(std::move(allowed).error());
    if (auto carried = carry(*held); !carried) {
        (void)disk::LinkDisk::destroy(folder_of(overlay), {});
        return refuse(std::move(carried).error());
    }
    return done;
}

OperationResult<> LinkTable::finish_rebase(const LinkPointer& link,
                                           const LinkDefinition& definition,
                                           const GenerationState* generation) {
    const std::lock_guard operation(link->operation);
    OperationResult<> moved;
    if (generation != nullptr) moved = move_on(link, definition, *generation);
    link->busy_with.clear();
    (void)run_on(link, [](LiveLink& live) -> Result<> {
        live.hold("");
        return {};
    });
    return moved;
}

OperationResult<LinkTable::Rebased> LinkTable::rebase(std::string_view id,
                                                      const RebaseRequest& request,
                                                      store::Progress& progress) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    auto disk = start_rebase(link, request);
    if (!disk) return tl::unexpected(std::move(disk).error());
    if (!*disk) return Rebased{request.from, request.to, {}};
    // Nobody changes the link while it is busy, so this is what it will be.
    const LinkState state = state_of(link);
    LinkDefinition definition = state.definition;
    for (DiskDefinition& each : definition.disks)
        if (each.lun == request.lun) each.version = request.to;
    GenerationState generation =
        plan_renewal(definition, state.current, state.next_number(), request.lun);
    auto done = prepare_rebase(link, request, std::move(*disk), generation, progress);
    for (DiskState& each : generation.disks)
        if (each.lun == request.lun) each.made = request.keep_written;  // by prepare_rebase
    auto finished = finish_rebase(link, definition, done ? &generation : nullptr);
    if (!done) return done;
    if (!finished) {
        // Only when the state file surely names the old overlay may the new one go.
        if (file_.save())
            for (const DiskState& each : generation.disks)
                if (each.lun == request.lun)
                    (void)disk::LinkDisk::destroy(settings_.folder(link->id, each.overlay), {});
        return tl::unexpected(std::move(finished).error());
    }
    traces_.follow(request.to, request.from);
    log::info("lun {} of link {} went on from version {} to {}, {}", request.lun, link->id,
              request.from, request.to,
              request.keep_written ? "with what was written to it" : "afresh");
    return done;
}

}  // namespace goldlink::control
