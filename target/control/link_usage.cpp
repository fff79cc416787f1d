// What fills a link's overlay: a snapshot of the disk, as a save takes one, is looked into while
// its client goes on. Whatever else wants the disk ends the look.
#include <fmt/format.h>

#include <algorithm>

#include "target/control/held_disk.hpp"
#include "target/control/link_refusal.hpp"
#include "target/store/version_reader.hpp"
#include "target/usage/reader_child.hpp"

namespace goldlink::control {
namespace {

constexpr std::chrono::seconds kTurnWait{5};

usage::WrittenBlocks written_blocks(const disk::DiskSnapshot& snapshot) {
    usage::WrittenBlocks written;
    constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / disk::kBlockBytes;
    for (const disk::ChunkBlocks& each : snapshot.stored())
        for (std::uint32_t block = 0; block < kChunkBlocks; ++block)
            if ((each.blocks >> block & 1) != 0)
                written.add(static_cast<std::uint32_t>(each.chunk * kChunkBlocks + block), 1);
    return written;
}

}  // namespace

OperationResult<LinkTable::Usage> LinkTable::usage(std::string_view id, std::uint16_t lun,
                                                   std::uint32_t files) {
    const LinkPointer link = find(id);
    if (!link) return no_such_link(id);
    const LinkState state = state_of(link);
    for (const DiskState& each : state.current.disks)
        if (each.lun == lun && each.type == DiskType::cdrom)
            return refuse(ErrorKind::conflict, "cdrom",
                          fmt::format("lun {} of link {} is a CD-ROM: nobody writes to it, so it "
                                      "has no overlay",
                                      lun, id));
    const auto turn = usage_turns_.enter(link->id, kTurnWait);
    if (!turn)
        return refuse(ErrorKind::unavailable, "usage-busy",
                      usage_turns_.stopped()
                          ? std::string("the target is ending")
                          : std::string("another disk of this node is being looked into, one at a "
                                        "time; try again in a minute"));
    const auto busy = [&](std::string_view what) {
        return refuse(
            ErrorKind::conflict, "disk-busy",
            fmt::format("lun {} of link {} {}; try again when that has ended", lun, id, what));
    };
    Usage found;
    auto disk = disk_to_save(link, lun, found.live);
    if (!disk) return tl::unexpected(std::move(disk).error());
    auto held = hold_disk(link->live->reactor(), std::move(*disk));
    if (!held && held.error().kind == ErrorKind::conflict)
        return busy("is being saved, committed or rebased");
    if (!held) return tl::unexpected(OperationError{std::move(held).error(), "", {}});
    found.version = held->state().version;
    auto base = store_.read_version(found.version);
    if (!base) return tl::unexpected(OperationError{std::move(base).error(), "", {}});
    usage::DiskToLook look;
    look.disk_bytes = held->snapshot().version().size_bytes();
    look.sector_bytes = held->state().logical_block_bytes;
    look.written = written_blocks(held->snapshot());
    look.read_chunk = [&](std::uint64_t chunk, std::uint8_t* data) {
        return held->snapshot().read_chunk(chunk, data, [&](std::uint64_t its, std::uint8_t* at) {
            return (*base)->read(its, at);
        });
    };
    usage::LookOptions options;
    options.program = usage::reader_program();
    options.cancel = &turn->cancelled();
    auto looked = usage::look_into(look, files, options);
    if (!looked && usage_turns_.stopped())
        return refuse(ErrorKind::unavailable, "usage-busy", "the target is ending");
    if (!looked && looked.error().kind == ErrorKind::cancelled)
        return busy("began to be saved, committed, rebased or dropped meanwhile");
    if (!looked) return tl::unexpected(OperationError{std::move(looked).error(), "", {}});
    found.disk = std::move(*looked);
    return found;
}

}  // namespace goldlink::control
