// Carrying an overlay over another version: its slots file gets a second name in a new folder, and
// the new folder a journal that says which slots are in use, over which version. What was there
// stays whole, so whichever of the two the owner then goes by is whole too.
#include <fmt/format.h>

#include <utility>

#include "target/disk/overlay.hpp"

namespace goldlink::disk {

namespace {
constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / kBlockBytes;
constexpr std::uint64_t kReserveRecords = 512;
}  // namespace

Result<> Overlay::carry(const FrozenMap& map, const SlotChecks::View& checks,
                        std::span<const store::ChunkBlocks> changed, const store::Version& over,
                        const std::filesystem::path& folder) const {
    if (!durable_) return failure(ErrorKind::invalid, "a discard overlay is not carried on");
    if (over.size_bytes() < version_->size_bytes())
        return failure(ErrorKind::conflict,
                       fmt::format("version {} has {} bytes, fewer than the {} of the disk",
                                   over.digest(), over.size_bytes(), version_->size_bytes()));
    if (over.size_bytes() != version_->size_bytes() && version_->size_bytes() % kBlockBytes != 0)
        return failure(
            ErrorKind::conflict,
            fmt::format("the disk's {} bytes end within a block of {}, whose rest nobody wrote",
                        version_->size_bytes(), kBlockBytes));
    if (blocks_of(over.size_bytes()) > 0xffffffffu)
        return failure(ErrorKind::invalid, "the disk is larger than an overlay can be");
    const auto refused = [&](int error) {
        return system_failure(fmt::format("cannot carry an overlay to {}", folder.string()),
                              -error);
    };
    if (const int error = storage_.make_folder(folder); error < 0) return refused(error);
    for (const char* name : {"journal", "slots"})  // of an attempt that was cut short
        if (const int error = storage_.remove(folder / name); error < 0) return refused(error);
    if (const int error = storage_.link(folder_ / "slots", folder / "slots"); error < 0)
        return refused(error);
    JournalHeader header = make_header();
    header.version_digest = over.digest();
    header.size_bytes = over.size_bytes();
    GOLDLINK_TRY_ASSIGN(auto journal, Journal::create(storage_, folder / "journal", header));
    std::uint64_t room = 0;
    const auto append = [&](const Record& record) {
        if (room == 0) {
            if (const int error = journal->reserve(kReserveRecords); error < 0) return error;
            room = kReserveRecords;
        }
        --room;
        return journal->append(record);
    };
    Record zeroes{Record::Type::zeroes, 0, 0, 0};  // a run that may go on
    const auto end_zeroes = [&] {
        const Record run = std::exchange(zeroes, {Record::Type::zeroes, 0, 0, 0});
        return run.slot == 0 ? 0 : append(run);
    };
    for (const store::ChunkBlocks& chunk : changed) {
        for (std::uint32_t i = 0; i < kChunkBlocks; ++i) {
            if ((chunk.blocks >> i & 1) == 0) continue;
            const auto block = static_cast<std::uint32_t>(chunk.chunk * kChunkBlocks + i);
            const BlockState state = map.get(block);
            int error = 0;
            if (state.has_slot()) {
                error = append(
                    {Record::Type::snapshot, block, state.slot(), checks.crc_of(state.slot())});
            } else if (zeroes.slot > 0 && zeroes.block + zeroes.slot == block) {
                ++zeroes.slot;
            } else {
                error = end_zeroes();
                zeroes = {Record::Type::zeroes, block, 1, 0};
            }
            if (error < 0) return refused(error);
        }
    }
    if (const int error = end_zeroes(); error < 0) return refused(error);
    if (const int error = append(Record::mark_of(journal->count())); error < 0)
        return refused(error);
    if (const int error = storage_.sync(journal->fd()); error < 0) return refused(error);
    GOLDLINK_TRY(store::sync_folder(storage_, folder));
    return store::sync_folder(storage_, folder.parent_path());
}

}  // namespace goldlink::disk
