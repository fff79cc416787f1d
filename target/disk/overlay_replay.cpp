// How an overlay finds out, when it is opened, what its journal's records amount to: which of them
// count after a kill, a power loss or a failed sync.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/log.hpp"
#include "target/disk/overlay.hpp"

namespace goldlink::disk {

namespace {

constexpr std::string_view kWaysOut =
    "the files are kept as they are; 'goldlink link salvage' makes a version of what is known to "
    "be "
    "good and says what is not, restore the files from a backup, or reset the link, which begins "
    "an "
    "empty disk";

}  // namespace

// A record that is bad although it was durable is damage: what was written to which block is no
// longer known, and any block that was not written again behind it may be an older one. Such a disk
// is not served at all, as nobody could be told which of its blocks are wrong.
Result<> Overlay::check_end(bool same_boot) const {
    const Journal::End& end = journal_->end();
    const auto path = (journal_folder() / "journal").string();
    const auto damaged = [&](std::string_view what) {
        return failure(
            ErrorKind::corrupt,
            fmt::format("the overlay's journal {} is damaged: {}; {}", path, what, kWaysOut));
    };
    const std::uint64_t count = journal_->count();
    if (durable_ && !end.has_mark)
        return damaged("it has no mark of a flush, which it was made with");
    if (durable_ && count < end.proven)
        return damaged(
            fmt::format("record {} is not what was written and flushed, and {} good "
                        "ones follow",
                        count, end.behind));
    // The page cache outlives a killed process: nothing is torn, but for the record it was writing.
    if (same_boot && end.behind > 0)
        return damaged(fmt::format("record {} is not what was written, and {} good ones follow",
                                   count, end.behind));
    // A power loss may have taken the step that made room, but leaves none half.
    if (end.fills_file && (same_boot || end.odd_length)) return damaged("it is cut short");
    return {};
}

// Whether a record above the last mark speaks of data that is there.
bool Overlay::replay_counts(const Record& record) {
    std::vector<std::uint8_t> data(kBlockBytes);
    return slots_->read(record.slot, data.data()) && crc32c(data.data(), data.size()) == record.crc;
}

// What cannot be read is not there to be written; whoever reads the block is told so. A process
// that was killed between a write in place and its record has left what no record speaks of.
Result<bool> Overlay::replay_rewrite(Record& record) {
    std::vector<std::uint8_t> data(kBlockBytes);
    if (!slots_->read(record.slot, data.data())) return false;
    const std::uint32_t recorded_crc = record.crc;
    record.crc = crc32c(data.data(), data.size());
    if (record.crc == recorded_crc)
        corrections_.erase(record.slot);
    else
        corrections_[record.slot] = record;
    GOLDLINK_TRY(slots_->write(record.slot, data.data()));
    return true;
}

// Records that count together, or one alone. False: they contradict what is there already.
Result<bool> Overlay::replay_writes(std::span<Record> records, const ReplayRules& rules) {
    const bool in_doubt = rules.above_mark && rules.check_crc;
    const auto checks = [&](const Record& record) {
        return in_doubt && record.type != Record::Type::snapshot;
    };
    const auto has_it_already = [&](const Record& record) {
        const BlockState before = map_.get(record.block);
        return before.has_slot() && before.slot() == record.slot;
    };
    for (const Record& record : records) {
        if (record.block >= map_.block_count()) return false;
        if (!checks(record) || replay_counts(record)) continue;
        if (has_it_already(record)) note_torn(record.block, record.slot);
        return true;
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
        // A slot that waits for a mark to be free is taken still.
        if (has_it_already(records[i]) || slots_->mark_taken(records[i].slot)) continue;
        for (const Record& taken : records.first(i))
            if (!has_it_already(taken)) slots_->release(taken.slot);
        return in_doubt;
    }
    for (Record& record : records) {
        bool was_read = checks(record);
        if (rules.above_mark && rules.rewrite) {
            GOLDLINK_TRY_ASSIGN(was_read, replay_rewrite(record));
        }
        if (!map_.get(record.block).has_slot()) ++used_blocks_;
        if (record.type == Record::Type::member)
            make_not_fresh(record.slot);
        else if (rules.above_mark && durable_ && !has_it_already(record))
            make_fresh(record.slot);
        apply_write(record.block, record.slot);
        past_end_seen_ = past_end_seen_ || slots_->is_past_end(record.slot);
        if (durable_ && was_read)
            checks_.written(record.slot, record.crc);
        else if (durable_)
            checks_.expected(record.slot, record.crc);
    }
    return true;
}

Result<> Overlay::replay(bool same_boot) {
    std::uint64_t marked = 0, marked_before = 0;
    bool failed = false;
    GOLDLINK_TRY(journal_->for_each([&](std::uint64_t index, const Record& record) -> Result<> {
        if (record.type == Record::Type::mark)
            marked_before = std::exchange(marked, std::min(record.marked_index(), index));
        if (record.type == Record::Type::sync_failed) failed = true;
        return {};
    }));
    const bool check_crc = durable_ && (!same_boot || failed);
    // A sync that fails makes the kernel take pages for clean that never reached the disk, and the
    // process it told so may have been killed before it could write that down. So what was not yet
    // durable when this machine's last process ended is made dirty again: slots above the last
    // mark, and the journal above the mark before it, which was durable when the last was written.
    const bool rewrite = durable_ && same_boot;
    if (rewrite) GOLDLINK_TRY(journal_->rewrite(marked_before));
    if (durable_) {
        // A mark, or a new journal's name, may have been in memory alone when the process was
        // killed; slots it frees must not be used before it is durable.
        int error = storage_.sync(journal_->fd());
        if (error == 0) error = storage_.sync_folder(folder_fd_);
        if (error < 0)
            return system_failure(fmt::format("cannot sync the overlay in {}", folder_.string()),
                                  -error);
    }
    flushed_records_ = marked;
    const auto malformed = [this] {
        return failure(ErrorKind::corrupt, fmt::format("the overlay in {} contradicts itself; {}",
                                                       folder_.string(), kWaysOut));
    };
    std::vector<Record> members;
    GOLDLINK_TRY(journal_->for_each([&](std::uint64_t index, const Record& record) -> Result<> {
        const bool above_mark = index >= marked;
        replaying_marked_ = !above_mark;
        if (record.type != Record::Type::member && record.type != Record::Type::group)
            members.clear();
        switch (record.type) {
            case Record::Type::mark:
            case Record::Type::sync_failed:
                return {};
            case Record::Type::zeroes:
                if (record.block >= map_.block_count() ||
                    record.slot > map_.block_count() - record.block)
                    return malformed();
                apply_zero(record.block, record.slot);
                return {};
            case Record::Type::write:
            case Record::Type::snapshot: {
                Record one = record;
                GOLDLINK_TRY_ASSIGN(const bool valid,
                                    replay_writes({&one, 1}, {above_mark, check_crc, rewrite}));
                return valid ? Result<>() : malformed();
            }
            case Record::Type::member:
                members.push_back(record);
                return {};
            case Record::Type::group: {
                // Members above the group's own are of a write that was cut short.
                if (record.block == 0 || record.block > members.size()) return malformed();
                GOLDLINK_TRY_ASSIGN(const bool valid,
                                    replay_writes(std::span(members).last(record.block),
                                                  {above_mark, check_crc, rewrite}));
                members.clear();
                return valid ? Result<>() : malformed();
            }
        }
        return malformed();
    }));
    replaying_marked_ = false;
    slots_dirty_ = true;
    GOLDLINK_TRY(check_slots_are_there());
    checkpoint_at_records_ = std::max(tuning_.min_checkpoint_records, used_blocks_ * 4);
    if (!same_boot || failed || !journal_->clean_tail() ||
        journal_->header().format != kJournalFormat) {
        // What counts now was read back from the disk: say so, with this boot's id. A journal of an
        // earlier format is written anew too, so that it has no records that format has not.
        for (const std::uint32_t slot : std::exchange(freed_, {})) slots_->release(slot);
        for (const std::uint32_t slot : std::exchange(fresh_, {})) make_not_fresh(slot);
        corrections_.clear();  // a checkpoint says what is
        return compact();
    }
    return record_corrections();
}

// A block whose slot is past the end of the slots file is lost, and known to be. Under discard,
// where a PC runs on the disk or nobody does, all of it is given up for that.
Result<> Overlay::check_slots_are_there() {
    if (!past_end_seen_) return {};
    std::uint64_t lost = 0;
    for (std::uint32_t leaf = 0; leaf < map_.leaf_count(); ++leaf) {
        if (map_.leaf_is_base(leaf) || map_.leaf_is_zero(leaf)) continue;
        const std::uint64_t first = std::uint64_t{leaf} * OverlayMap::kLeafBlocks;
        const std::uint64_t end =
            std::min<std::uint64_t>(first + OverlayMap::kLeafBlocks, map_.block_count());
        for (std::uint64_t block = first; block < end; ++block) {
            const BlockState state = map_.get(static_cast<std::uint32_t>(block));
            if (!state.has_slot() || !slots_->is_past_end(state.slot())) continue;
            if (durable_) condemn_past_end(static_cast<std::uint32_t>(block), state.slot());
            ++lost;
        }
    }
    if (lost == 0) return {};
    const std::string what =
        fmt::format("the slots of the overlay in {} are cut short: {} blocks of {} bytes are lost",
                    folder_.string(), lost, kBlockBytes);
    if (!durable_)
        return failure(ErrorKind::corrupt,
                       what + "; restart the PC, or reset the link, which begins an empty disk");
    log::error("{}; reads of them fail, {}", what, kWaysOut);
    return {};
}

// The file may grow over the slot again, with zeros: where no CRC is known, one is recorded that
// zeros have not.
void Overlay::condemn_past_end(std::uint32_t block, std::uint32_t slot) {
    if (checks_.crc_of(slot) == 0) {
        const std::vector<std::uint8_t> zeros(kBlockBytes);
        const std::uint32_t never = ~crc32c(zeros.data(), zeros.size());
        checks_.expected(slot, never);
        corrections_[slot] = {Record::Type::write, block, slot, never};
    }
    checks_.condemned(slot);
}

// So that the blocks count as what they are when a later flush has covered them.
Result<> Overlay::record_corrections() {
    while (!corrections_.empty()) {
        const auto [slot, record] = *corrections_.begin();
        const BlockState state = map_.get(record.block);
        const bool counts =
            state.has_slot() && state.slot() == slot && checks_.crc_of(slot) == record.crc;
        int error = 0;
        if (counts) error = journal_->reserve(1);
        if (counts && error == 0) error = journal_->append(record);
        if (error < 0)
            return system_failure(fmt::format("cannot write {}/journal", folder_.string()), -error);
        corrections_.erase(slot);
    }
    return {};
}

}  // namespace goldlink::disk
