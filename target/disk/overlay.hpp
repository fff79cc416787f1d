// Overlay: the state of one link's copy-on-write layer: map, slots and journal, kept in step. It
// decides where a block is to be written and records that it was; moving the data is LinkDisk's.
//
// Rules for `keep` and `super` (durable overlays), which make a power loss harmless:
// - A slot that a mark covers is never overwritten: the block's next write takes another slot, and
//   the old one is free when a later mark is durable. So a block written since the last flush
//   reads as before or as written, never as a mixture.
// - Slots written since the last flush began are "fresh": those are overwritten in place. Those of
//   atomic writes are not, as each of them must still be what its group says.
// - Each slot's CRC is known (SlotChecks): replay believes no block before somebody has compared
// it,
//   and a block that does not hold what was written is bad until it is written anew.
// Under `discard` every overwrite is in place and nothing is ever synced; the journal is there for
// the process being killed, which page cache and tmpfs survive. A machine that starts anew finds a
// discard overlay gone.
// One thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "target/disk/journal.hpp"
#include "target/disk/link_disk.hpp"
#include "target/disk/overlay_map.hpp"
#include "target/disk/slot_checks.hpp"
#include "target/disk/slots.hpp"
#include "target/store/version_diff.hpp"

namespace goldlink::disk {

// When housekeeping happens; the simulation makes it frequent.
struct OverlayTuning {
    std::uint64_t min_checkpoint_records = 256 * 1024;  // 4 MiB of journal
    std::size_t many_freed_slots = 16384;               // 64 MiB waiting for a flush to be free
};

class Overlay {
  public:
    // Opens what is there, or makes it where that is asked for. Replays, checks CRCs after a power
    // loss, and compacts. A journal that is damaged, not torn, is an error that says the way out,
    // and nothing of the overlay is changed.
    static Result<std::unique_ptr<Overlay>> open(store::Storage& storage,
                                                 const LinkDiskOptions& options,
                                                 const OverlayTuning& tuning);
    ~Overlay();

    const OverlayMap& map() const { return map_; }
    const Slots& slots() const { return *slots_; }
    SlotChecks& checks() { return checks_; }
    const SlotChecks& checks() const { return checks_; }
    bool durable() const { return durable_; }
    // Slots in use: of the client's blocks, and those that a snapshot holds back.
    std::uint64_t used_blocks() const { return used_blocks_ + held_back_.size(); }
    std::uint64_t quota_blocks() const { return quota_blocks_; }
    void set_quota(std::uint64_t quota_bytes);  // as LinkDiskOptions says; what is there stays
    std::uint64_t journal_bytes() const { return journal_->size_bytes(); }

    enum class Refusal : std::uint8_t { none, space, failed };
    // Where to write `block` now: its own slot when `in_place` and allowed, else a new one, which
    // must then go to recorded() or abandoned(). `target` is as it was when that is refused.
    struct Target {
        std::uint32_t slot = 0;
        bool in_place = false;
    };
    Refusal choose(std::uint32_t block, bool in_place, Target& target);
    // The slot's data is in the page cache. `crc` is ignored under discard.
    Refusal recorded(std::uint32_t block, const Target& target, std::uint32_t crc);
    void abandoned(std::uint32_t block, const Target& target);
    // Blocks whose data is in new slots, recorded as one: all of them count or none (also after a
    // power loss, where one whose slot has not its data takes the others with it). On a refusal
    // none is recorded, and none abandoned yet. Needs one record more than blocks reserved.
    struct Placed {
        std::uint32_t block = 0;
        std::uint32_t crc = 0;
        Target target;
    };
    Refusal recorded_together(const std::vector<Placed>& blocks);
    // `count` blocks from `block` read as zero from now on.
    Refusal zeroed(std::uint32_t block, std::uint32_t count);
    // Room for the records of a request that writes `blocks` blocks, before its data is moved.
    Refusal reserve(std::uint64_t blocks);

    // From hold() to let_go() the blocks stay readable as they were at hold(), from any thread:
    // their slots are not written to, and what the client gives up of them is held back, which
    // counts as used. Nothing of it is in the journal. No write in place may be under way.
    const FrozenMap& hold();
    void let_go();
    bool is_held(std::uint32_t slot) const { return slots_->is_held(slot); }
    bool is_holding() const { return holding_; }

    // Makes, in `folder`, an overlay over another version of at least this one's size: the blocks
    // `changed` of `map`, which is held, and nothing else. Durable when it returns, and this
    // overlay stays whole; the slots are shared by both, so nobody writes to either until one is
    // destroyed. What was written must have been flushed before. Blocks; any thread.
    Result<> carry(const FrozenMap& map, const SlotChecks::View& checks,
                   std::span<const store::ChunkBlocks> changed, const store::Version& over,
                   const std::filesystem::path& folder) const;

    // A flush, run by LinkDisk: begin_flush; sync of slots_fd() when slots_dirty; mark; sync of
    // journal_fds(); then, when checkpoint_ready(), install_checkpoint and sync of folder_fd();
    // end_flush, with `with_checkpoint` set to whether it was installed. One at a time. A flush
    // that finds no room for its mark is given up instead: nothing failed, nothing is durable.
    bool has_unflushed() const {
        return durable_ && (journal_->count() > flushed_records_ || !corrections_.empty());
    }
    struct Flush {
        std::uint64_t records = 0;  // the mark will cover these
        std::uint64_t next_records = 0;
        bool slots_dirty = false;
        bool with_checkpoint = false;
    };
    Flush begin_flush();
    Refusal mark(const Flush& flush);
    Result<> install_checkpoint();
    void end_flush(const Flush& flush, bool ok);
    void give_up_flush() { next_in_flush_ = false; }
    void drop_checkpoint() { next_broken_ = next_ != nullptr; }
    int slots_fd() const { return slots_->disk_fd(); }
    int journal_fd() const { return journal_->fd(); }
    int next_journal_fd() const { return next_ ? next_->fd() : -1; }
    int folder_fd() const { return folder_fd_; }
    bool sync_failed() const { return sync_failed_; }
    // Slots wait for a flush to be used again: worth one when nobody else asks.
    bool wants_flush() const;

  private:
    Overlay(store::Storage& storage, const LinkDiskOptions& options, const OverlayTuning& tuning);

    Result<> open_folders(bool make);
    Slots::Options slot_options(bool empty) const;
    Result<> create();
    Result<> load(std::unique_ptr<Journal> journal);
    bool has_own_files(const Journal& journal) const;
    Result<> check_end(bool same_boot) const;
    Result<> replay(bool same_boot);
    bool replay_counts(const Record& record);
    Result<bool> replay_rewrite(Record& record);
    Result<> record_corrections();
    void note_torn(std::uint32_t block, std::uint32_t slot);
    Result<> check_slots_are_there();
    void condemn_past_end(std::uint32_t block, std::uint32_t slot);
    struct ReplayRules {
        bool above_mark, check_crc, rewrite;
    };
    Result<bool> replay_writes(std::span<Record> records, const ReplayRules& rules);
    Result<> compact();
    static std::uint64_t blocks_of(std::uint64_t bytes) {
        return (bytes + kBlockBytes - 1) / kBlockBytes;
    }
    JournalHeader make_header() const;
    std::filesystem::path journal_folder() const;
    Refusal append(const Record& record);
    void apply_write(std::uint32_t block, std::uint32_t slot);
    void apply_zero(std::uint32_t block, std::uint32_t count);
    void zero_block(std::uint32_t block);
    void free_slot(std::uint32_t slot);
    bool is_fresh(std::uint32_t slot) const;
    void make_fresh(std::uint32_t slot);
    void make_not_fresh(std::uint32_t slot);
    bool base_is_zero(std::uint64_t chunk) const;

    void drop_next();
    void step_checkpoint();
    void maybe_begin_checkpoint();
    void advance_checkpoint(std::uint32_t blocks);

    store::Storage& storage_;
    const OverlayTuning tuning_;
    const std::filesystem::path folder_, ram_folder_;
    const std::shared_ptr<const store::Version> version_;
    const Policy policy_;
    const std::string owner_;
    const bool durable_;
    std::uint64_t quota_blocks_ = 0;
    bool has_quota_ = false;  // that somebody chose; else no block of the disk is without a slot
    const std::uint64_t reserve_bytes_;
    std::uint32_t ram_slots_;

    OverlayMap map_;
    std::unique_ptr<Slots> slots_;
    SlotChecks checks_;  // of durable overlays
    // By slot: what a killed process, or a write that failed, left and no record speaks of.
    std::unordered_map<std::uint32_t, Record> corrections_;
    bool past_end_seen_ = false;
    std::unique_ptr<Journal> journal_;
    int folder_fd_ = -1;
    std::uint64_t used_blocks_ = 0;

    std::vector<std::uint64_t> fresh_bits_;  // by slot
    std::vector<std::uint32_t> fresh_;       // the slots whose bit is set
    std::vector<std::uint32_t> freed_;  // since the last flush began: free at the next one's end
    std::vector<std::uint32_t> freed_before_flush_;  // free when the running one ends
    bool holding_ = false;
    std::vector<std::uint32_t> held_back_;  // given up, but held
    std::uint64_t flushed_records_ = 0;
    bool slots_dirty_ = false;
    bool sync_failed_ = false;
    bool replaying_marked_ = false;  // a freed slot is free at once

    // A checkpoint: a second journal that gets every record too, and the map leaf by leaf.
    std::unique_ptr<Journal> next_;
    bool next_in_flush_ = false;          // its descriptor may be in use by the ring
    bool next_broken_ = false;            // to be given up when the flush ends
    std::uint32_t checkpoint_block_ = 0;  // the map below is in it
    std::uint64_t checkpoint_at_records_ = 0;
};

}  // namespace goldlink::disk
