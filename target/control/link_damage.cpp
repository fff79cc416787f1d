// Verify: every block of a disk's overlay is read and compared with what was written, while its
// client goes on. Salvage: what can be read of a damaged overlay becomes a version, with a list of
// what cannot.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "target/control/held_disk.hpp"
#include "target/control/link_refusal.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::control {

OperationResult<LinkTable::OverlayCheck> LinkTable::verify(std::string_view id,
                                                           std::optional<std::uint16_t> lun,
                                                           store::Progress& progress) {
    using Salvage = disk::OverlaySalvage;
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    bool live = false;
    auto disk = disk_to_save(link, lun, live);
    if (!disk) return tl::unexpected(std::move(disk).error());
    usage_turns_.give_way(link->id);
    auto held = hold_disk(link->live->reactor(), std::move(*disk));
    if (!held) return tl::unexpected(OperationError{std::move(held).error(), "", {}});
    OverlayCheck check;
    check.lun = held->state().lun;
    for (const disk::ChunkBlocks& each : held->snapshot().stored())
        progress.total_bytes +=
            static_cast<std::uint64_t>(std::popcount(each.blocks)) * disk::kBlockBytes;
    const auto compared =
        held->snapshot().compare_all([&](const disk::DiskSnapshot::Compared& found) -> Result<> {
            link->live->reactor().run_and_wait(
                [&] { held->disk().disk->note_checked(found.read); });
            for (const std::uint32_t block : found.bad) {
                const std::uint64_t offset = std::uint64_t{block} * disk::kBlockBytes;
                check.bad_bytes += disk::kBlockBytes;
                if (!check.bad.empty() &&
                    check.bad.back().offset_bytes + check.bad.back().length_bytes == offset)
                    check.bad.back().length_bytes += disk::kBlockBytes;
                else if (check.bad.size() < Salvage::kMaxRanges)
                    check.bad.push_back({offset, disk::kBlockBytes});
            }
            check.checked_bytes += found.looked * disk::kBlockBytes;
            progress.done_bytes = check.checked_bytes;
            if (progress.cancel) return failure(ErrorKind::cancelled, "cancelled");
            return {};
        });
    if (!compared) return tl::unexpected(OperationError{compared.error(), "", {}});
    return check;
}

OperationResult<LinkTable::CompareStep> LinkTable::compare_some(std::string_view id,
                                                                std::uint16_t lun,
                                                                const std::string& overlay,
                                                                std::uint64_t chunk) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    // What wants the disk meanwhile waits for the step's end.
    const auto turn = usage_turns_.enter(link->id, std::chrono::milliseconds(0));
    if (!turn)
        return refuse(ErrorKind::unavailable, "disk-busy", "another disk is being looked into");
    bool live = false;
    auto disk = disk_to_save(link, lun, live);
    if (!disk) return tl::unexpected(std::move(disk).error());
    auto held = hold_disk(link->live->reactor(), std::move(*disk));
    if (!held) return tl::unexpected(OperationError{std::move(held).error(), "", {}});
    if (held->state().overlay != overlay)
        return refuse(ErrorKind::conflict, "other-overlay", "the disk has begun anew");
    CompareStep step;
    const disk::DiskSnapshot::Compared found =
        held->snapshot().compare_some(chunk, kCompareStepBytes / disk::kBlockBytes);
    link->live->reactor().run_and_wait([&] { held->disk().disk->note_checked(found.read); });
    step.looked_bytes = found.looked * disk::kBlockBytes;
    step.bad_bytes = found.bad.size() * disk::kBlockBytes;
    if (chunk < held->snapshot().chunk_count()) step.next_chunk = chunk;
    return step;
}

// The link is not used until the salvage has ended, and nothing of its disk is only in memory.
OperationResult<DiskState> LinkTable::start_salvage(const LinkPointer& link,
                                                    std::optional<std::uint16_t> lun) {
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return tl::unexpected(std::move(usable).error());
    std::vector<DiskState> candidates;
    for (const DiskState& disk : state_of(link).current.disks)
        if (disk.type == DiskType::disk && disk.policy != disk::Policy::discard &&
            lun.value_or(disk.lun) == disk.lun)
            candidates.push_back(disk);
    if (candidates.empty())
        return refuse(ErrorKind::conflict, "nothing-to-salvage",
                      fmt::format("link {} has no such disk of policy keep or super", link->id));
    if (candidates.size() > 1)
        return refuse(ErrorKind::conflict, "several-disks",
                      fmt::format("link {} has several disks of policy keep or super; say by lun "
                                  "which one to salvage",
                                  link->id));
    LinkReport report;
    std::shared_ptr<OpenDisk> open;
    link->live->reactor().run_and_wait([&] {
        report = link->live->report();
        if (!report.sessions.empty()) return;
        if (report.open)
            for (const auto& each : link->live->units()->disks())
                if (each->state.lun == candidates.front().lun) open = each;
        link->live->hold("a salvage");
    });
    if (!report.sessions.empty())
        return refuse(ErrorKind::conflict, "link-in-use",
                      fmt::format("link {} is in use by {}; shut it down, then salvage its disk",
                                  link->id, initiators_of(report)));
    link->busy_with = "a salvage";
    if (open) {
        (void)flush_disk(link->live->reactor(), *open);  // one that fails: what is there is there
        link->live->reactor().run_and_wait([&] { open.reset(); });
    }
    return candidates.front();
}

OperationResult<LinkTable::Salvaged> LinkTable::salvage(std::string_view id,
                                                        std::optional<std::uint16_t> lun,
                                                        store::Progress& progress) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    const auto disk = start_salvage(link, lun);
    if (!disk) return tl::unexpected(disk.error());
    const auto make = [&]() -> Result<Salvaged> {
        Salvaged made;
        made.lun = disk->lun;
        made.version.base = disk->version;
        GOLDLINK_TRY(settings_.check_folders(false));
        GOLDLINK_TRY_ASSIGN(const auto version, store_.open_version(disk->version));
        GOLDLINK_TRY_ASSIGN(const auto base, store_.read_version(disk->version));
        GOLDLINK_TRY_ASSIGN(
            const auto salvage,
            disk::OverlaySalvage::open(store::posix_storage(),
                                       settings_.folder(link->id, disk->overlay), *version));
        GOLDLINK_TRY_ASSIGN(made.version.info,
                            store_.commit(
                                disk->version, salvage->changed_chunks(),
                                [&](std::uint64_t offset_bytes, std::uint8_t* data) {
                                    return salvage->read_chunk(
                                        offset_bytes / store::kChunkBytes, data,
                                        [&](std::uint64_t chunk, std::uint8_t* at) {
                                            return base->read(chunk, at);
                                        });
                                },
                                progress));
        made.report = salvage->report();
        return made;
    };
    auto made = make();
    const std::lock_guard operation(link->operation);
    link->busy_with.clear();
    (void)run_on(link, [](LiveLink& live) -> Result<> {
        live.hold("");
        return {};
    });
    if (!made) return tl::unexpected(OperationError{std::move(made).error(), "", {}});
    return std::move(*made);
}

}  // namespace goldlink::control
