// Commit: the blocks of a link's super disk become a new version. Nobody may be logged in, and
// nobody gets in while it runs; afterwards the link runs on over the new version, its overlay
// empty. Save: what any disk of a link holds becomes a new version, while its client goes on; the
// link stays what it is.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "target/control/held_disk.hpp"
#include "target/control/link_refusal.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::control {
namespace {

// A new version of what the disk held.
Result<MadeVersion> make_version(store::ImageStore& store, const HeldDisk& held,
                                 store::Progress& progress) {
    const std::string& base = held.state().version;
    GOLDLINK_TRY_ASSIGN(const auto reader, store.read_version(base));
    std::vector<std::uint64_t> chunks;
    for (const disk::ChunkBlocks& each : held.snapshot().changed()) chunks.push_back(each.chunk);
    GOLDLINK_TRY_ASSIGN(
        store::VersionInfo info,
        store.commit(
            base, chunks,
            [&](std::uint64_t offset_bytes, std::uint8_t* data) {
                return held.snapshot().read_chunk(
                    offset_bytes / store::kChunkBytes, data,
                    [&](std::uint64_t chunk, std::uint8_t* at) { return reader->read(chunk, at); });
            },
            progress));
    return MadeVersion{std::move(info), base, false};
}

}  // namespace

OperationResult<> LinkTable::start_commit(const LinkPointer& link, std::optional<std::uint16_t> lun,
                                          std::shared_ptr<OpenDisk>& disk) {
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return usable;
    LinkReport report;
    std::vector<std::uint16_t> candidates;
    link->live->reactor().run_and_wait([&] {
        report = link->live->report();
        if (!report.open || !report.sessions.empty()) return;
        for (const auto& each : link->live->units()->disks()) {
            if (each->state.policy != disk::Policy::super) continue;
            if (lun.value_or(each->state.lun) != each->state.lun) continue;
            candidates.push_back(each->state.lun);
            disk = each;
        }
        if (candidates.size() == 1)
            link->live->hold("a commit");
        else
            disk.reset();
    });
    if (!report.open)
        return refuse(ErrorKind::unavailable, "link-not-ready",
                      fmt::format("link {} is not ready: {}", link->id, report.problem));
    if (!report.sessions.empty())
        return refuse(ErrorKind::conflict, "link-in-use",
                      fmt::format("link {} is in use by {}; shut it down, then commit", link->id,
                                  report.sessions.front().info.initiator_name));
    if (candidates.size() > 1)
        return refuse(ErrorKind::conflict, "several-super-disks",
                      fmt::format("link {} has several disks of policy super, luns {}; say which "
                                  "one's edits become a version",
                                  link->id, fmt::join(candidates, ", ")));
    if (!disk && lun)
        return refuse(ErrorKind::conflict, "no-super-disk",
                      fmt::format("link {} has no disk of policy super with lun {}; only such "
                                  "edits become a version",
                                  link->id, *lun));
    if (!disk)
        return refuse(
            ErrorKind::conflict, "no-super-disk",
            fmt::format("link {} has no disk of policy super; only such edits become a version",
                        link->id));
    link->busy_with = "a commit";
    return {};
}

OperationResult<> LinkTable::finish_commit(const LinkPointer& link, std::uint16_t lun,
                                           const std::string& digest) {
    const std::lock_guard operation(link->operation);
    OperationResult<> moved;
    if (!digest.empty()) {
        const LinkState state = state_of(link);
        LinkDefinition definition = state.definition;
        for (DiskDefinition& disk : definition.disks)
            if (disk.lun == lun) disk.version = digest;
        // Where nothing had changed the digest is the base's own: still the overlay is done with.
        moved = move_on(link, definition,
                        plan_renewal(definition, state.current, state.next_number(), lun));
    }
    link->busy_with.clear();
    (void)run_on(link, [](LiveLink& live) -> Result<> {
        live.hold("");
        return {};
    });
    return moved;
}

OperationResult<MadeVersion> LinkTable::commit(std::string_view id,
                                               std::optional<std::uint16_t> lun,
                                               store::Progress& progress) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    std::shared_ptr<OpenDisk> disk;
    if (auto started = start_commit(link, lun, disk); !started)
        return tl::unexpected(std::move(started).error());
    const std::uint16_t committed = disk->state.lun;
    Result<MadeVersion> made;
    usage_turns_.give_way(link->id);
    {
        auto held = hold_disk(link->live->reactor(), std::move(disk));
        if (held)
            made = make_version(store_, *held, progress);
        else
            made = Failure(std::move(held).error());
    }
    auto finished = finish_commit(link, committed, made ? made->info.digest : std::string());
    if (!made) return tl::unexpected(OperationError{std::move(made).error(), "", {}});
    if (!finished) return tl::unexpected(std::move(finished).error());
    return std::move(*made);
}

OperationResult<std::shared_ptr<OpenDisk>> LinkTable::disk_to_save(const LinkPointer& link,
                                                                   std::optional<std::uint16_t> lun,
                                                                   bool& live) {
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return tl::unexpected(std::move(usable).error());
    LinkReport report;
    std::shared_ptr<OpenDisk> disk;
    std::vector<std::uint16_t> candidates;
    link->live->reactor().run_and_wait([&] {
        report = link->live->report();
        if (!report.open) return;
        for (const auto& each : link->live->units()->disks()) {
            if (each->state.type != DiskType::disk) continue;
            if (lun.value_or(each->state.lun) != each->state.lun) continue;
            candidates.push_back(each->state.lun);
            disk = each;
        }
        if (candidates.size() != 1) return disk.reset();
        link->live->note_held(disk);
    });
    live = !report.sessions.empty();
    if (disk) return disk;
    if (!report.open)
        return refuse(ErrorKind::unavailable, "link-not-ready",
                      fmt::format("link {} is not ready: {}", link->id, report.problem));
    if (candidates.size() > 1)
        return refuse(ErrorKind::conflict, "several-disks",
                      fmt::format("link {} has several disks, luns {}; say which one to save",
                                  link->id, fmt::join(candidates, ", ")));
    return refuse(
        ErrorKind::not_found, "no-such-lun",
        lun ? fmt::format("link {} has no disk with lun {} that a client writes to", link->id, *lun)
            : fmt::format("link {} has no disk that a client writes to", link->id));
}

OperationResult<MadeVersion> LinkTable::save_disk(std::string_view id,
                                                  std::optional<std::uint16_t> lun,
                                                  store::Progress& progress) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    bool live = false;
    auto disk = disk_to_save(link, lun, live);
    if (!disk) return tl::unexpected(std::move(disk).error());
    usage_turns_.give_way(link->id);
    auto held = hold_disk(link->live->reactor(), std::move(*disk));
    if (!held) return tl::unexpected(OperationError{std::move(held).error(), "", {}});
    auto made = make_version(store_, *held, progress);
    if (!made) return tl::unexpected(OperationError{std::move(made).error(), "", {}});
    made->live = live;
    return std::move(*made);
}

OperationResult<LinkTable::Comparison> LinkTable::compare(std::string_view id,
                                                          std::optional<std::uint16_t> lun,
                                                          std::string_view version) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    bool live = false;
    auto disk = disk_to_save(link, lun, live);
    if (!disk) return tl::unexpected(std::move(disk).error());
    Comparison found;
    std::vector<disk::ChunkBlocks> mine;
    std::uint32_t block_bytes = 512;
    usage_turns_.give_way(link->id);
    {
        auto held = hold_disk(link->live->reactor(), std::move(*disk));
        if (!held) return tl::unexpected(OperationError{std::move(held).error(), "", {}});
        found.base = held->state().version;
        block_bytes = held->state().logical_block_bytes;
        mine = held->snapshot().changed();
    }
    const auto look = [&]() -> Result<> {
        GOLDLINK_TRY_ASSIGN(const auto base, store_.read_version(found.base));
        GOLDLINK_TRY_ASSIGN(const auto other, store_.read_version(version));
        store::Progress nobody_watches;
        GOLDLINK_TRY_ASSIGN(found.overlap,
                            store::overlap_of(mine, *base, *other, nobody_watches, block_bytes));
        return {};
    };
    if (auto looked = look(); !looked)
        return tl::unexpected(OperationError{std::move(looked).error(), "", {}});
    return found;
}

}  // namespace goldlink::control
