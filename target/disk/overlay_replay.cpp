// How an overlay finds out, when it is opened, what its journal's records amount to: which of them
// count after a kill, a power loss or a failed sync.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "target/disk/overlay.hpp"

namespace goldlink::disk {

// Whether a record above the last mark speaks of data that is there.
bool Overlay::replay_counts(const Record& record) {
    std::vector<std::uint8_t> data(kBlockBytes);
    return slots_->read(record.slot, data.data()) && crc32c(data.data(), data.size()) == record.crc;
}

// What cannot be read is not there to be written; whoever reads the block is told so.
Result<> Overlay::replay_rewrite(const Record& record) {
    std::vector<std::uint8_t> data(kBlockBytes);
    if (!slots_->read(record.slot, data.data())) return {};
    return slots_->write(record.slot, data.data());
}

// Records that count together, or one alone. False: they contradict what is there already.
Result<bool> Overlay::replay_writes(std::span<const Record> records, const ReplayRules& rules) {
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
        if (checks(record) && !replay_counts(record)) return true;
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
        // A slot that waits for a mark to be free is taken still.
        if (has_it_already(records[i]) || slots_->mark_taken(records[i].slot)) continue;
        for (const Record& taken : records.first(i))
            if (!has_it_already(taken)) slots_->release(taken.slot);
        return in_doubt;
    }
    for (const Record& record : records) {
        if (rules.above_mark && rules.rewrite) GOLDLINK_TRY(replay_rewrite(record));
        if (!map_.get(record.block).has_slot()) ++used_blocks_;
        if (record.type == Record::Type::member)
            make_not_fresh(record.slot);
        else if (rules.above_mark && durable_ && !has_it_already(record))
            make_fresh(record.slot);
        apply_write(record.block, record.slot);
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
        return failure(
            ErrorKind::corrupt,
            fmt::format("the overlay in {} contradicts itself; reset the link to drop it",
                        folder_.string()));
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
                GOLDLINK_TRY_ASSIGN(const bool valid,
                                    replay_writes({&record, 1}, {above_mark, check_crc, rewrite}));
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
    checkpoint_at_records_ = std::max(tuning_.min_checkpoint_records, used_blocks_ * 4);
    if (!same_boot || failed || !journal_->clean_tail() ||
        journal_->header().format != kJournalFormat) {
        // What counts now was read back from the disk: say so, with this boot's id. A journal of an
        // earlier format is written anew too, so that it has no records that format has not.
        for (const std::uint32_t slot : std::exchange(freed_, {})) slots_->release(slot);
        for (const std::uint32_t slot : std::exchange(fresh_, {})) make_not_fresh(slot);
        GOLDLINK_TRY(compact());
    }
    return {};
}

}  // namespace goldlink::disk
