#include "target/disk/overlay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "common/check.hpp"
#include "common/log.hpp"

namespace goldlink::disk {

namespace {

constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / kBlockBytes;
constexpr std::uint32_t kCheckpointStepBlocks = 64;  // map entries copied per append
constexpr std::size_t kCommonReserve = 512;

Overlay::Refusal refusal_of(int error) {
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? Overlay::Refusal::space
                                                                   : Overlay::Refusal::failed;
}

}  // namespace

Overlay::Overlay(store::Storage& storage, const LinkDiskOptions& options,
                 const OverlayTuning& tuning)
    : storage_(storage),
      tuning_(tuning),
      folder_(options.folder),
      ram_folder_(options.policy == Policy::discard ? options.ram_folder : std::filesystem::path()),
      version_(options.version),
      policy_(options.policy),
      owner_(options.owner),
      durable_(options.policy != Policy::discard),
      reserve_bytes_(options.reserve_bytes),
      ram_slots_(ram_folder_.empty() ? 0
                                     : static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                           options.ram_budget_bytes / kBlockBytes, kMaxSlots / 2))),
      map_(static_cast<std::uint32_t>(blocks_of(options.version->size_bytes()))) {
    set_quota(options.quota_bytes);
}

void Overlay::set_quota(std::uint64_t quota_bytes) {
    has_quota_ = quota_bytes != 0;
    quota_blocks_ = has_quota_ ? quota_bytes / kBlockBytes : blocks_of(version_->size_bytes());
}

Overlay::~Overlay() {
    if (folder_fd_ >= 0) storage_.close(folder_fd_);
}

std::filesystem::path Overlay::journal_folder() const {
    return ram_folder_.empty() ? folder_ : ram_folder_;
}

JournalHeader Overlay::make_header() const {
    JournalHeader header;
    header.policy = static_cast<std::uint32_t>(policy_);
    header.size_bytes = version_->size_bytes();
    header.ram_slots = ram_slots_;
    header.seed = std::random_device()();
    header.version_digest = version_->digest();
    header.boot_id = storage_.boot_id();
    header.owner = owner_;
    header.slots_file = storage_.file_id(slots_->disk_fd());
    return header;
}

// Writes the map as a new journal and puts it in place, durably for durable overlays. Blocks.
Result<> Overlay::compact() {
    const auto path = journal_folder() / "journal", temporary = journal_folder() / "journal.new";
    const auto refused = [&](int error) {
        return system_failure(fmt::format("cannot write {}", temporary.string()), -error);
    };
    journal_.reset();  // what it says is in the map
    GOLDLINK_TRY_ASSIGN(next_, Journal::create(storage_, temporary, make_header()));
    checkpoint_block_ = 0;
    while (checkpoint_block_ < map_.block_count()) {
        advance_checkpoint(kCheckpointStepBlocks);
        if (!next_) return refused(-ENOSPC);
    }
    if (durable_) {
        if (const int error = storage_.sync(slots_->disk_fd()); error < 0) return refused(error);
        if (const int error = next_->reserve(1); error < 0) return refused(error);
        if (const int error = next_->append(Record::mark_of(next_->count())); error < 0)
            return refused(error);
        if (const int error = storage_.sync(next_->fd()); error < 0) return refused(error);
    }
    GOLDLINK_TRY(install_checkpoint());
    if (durable_) {
        if (const int error = storage_.sync_folder(folder_fd_); error < 0) return refused(error);
    }
    flushed_records_ = journal_->count();
    return {};
}

// ---- Changes

Overlay::Refusal Overlay::reserve(std::uint64_t blocks) {
    if (sync_failed_) return Refusal::failed;
    if (const int error = journal_->reserve(blocks + kCommonReserve); error < 0) {
        if (journal_->failed()) sync_failed_ = true;
        return refusal_of(error);
    }
    if (next_ && next_->reserve(blocks + kCommonReserve) < 0) drop_next();
    return Refusal::none;
}

// By reference: returned in registers, the target is put together in memory, and reading that back
// waits until the copy of the block before has left the store buffer (a quarter of a large write).
Overlay::Refusal Overlay::choose(std::uint32_t block, bool in_place, Target& target) {
    const BlockState state = map_.get(block);
    if (holding_ && state.has_slot() && slots_->is_held(state.slot())) in_place = false;
    const auto stay = [&] {
        target = {state.slot(), true};
        return Refusal::none;
    };
    if (state.has_slot() && in_place && (!durable_ || is_fresh(state.slot()))) return stay();
    if (!state.has_slot() && used_blocks_ >= quota_blocks_) return Refusal::space;
    if (holding_ && has_quota_ &&
        slots_->taken() - freed_.size() - freed_before_flush_.size() >= quota_blocks_)
        return Refusal::space;
    if (const auto slot = slots_->take()) {
        if (!state.has_slot()) ++used_blocks_;
        target = {*slot, false};
        return Refusal::none;
    }
    // A full filesystem does not refuse overwrites; only 512-byte atomicity is left to them then.
    if (state.has_slot() && in_place) return stay();
    return Refusal::space;
}

void Overlay::abandoned(std::uint32_t block, const Target& target) {
    if (target.in_place) return note_torn(block, target.slot);
    slots_->release(target.slot);
    if (!map_.get(block).has_slot()) --used_blocks_;
}

// A write in place that failed may have changed some of the block: it is what it is now, for
// whoever compares it later.
void Overlay::note_torn(std::uint32_t block, std::uint32_t slot) {
    if (!durable_) return;
    std::vector<std::uint8_t> data(kBlockBytes);
    if (!slots_->read(slot, data.data())) return checks_.condemned(slot);
    const std::uint32_t crc = crc32c(data.data(), data.size());
    if (crc == checks_.crc_of(slot)) return;
    checks_.written(slot, crc);
    corrections_[slot] = {Record::Type::write, block, slot, crc};
}

Overlay::Refusal Overlay::recorded(std::uint32_t block, const Target& target, std::uint32_t crc) {
    slots_dirty_ = true;
    if (target.in_place && !durable_) return Refusal::none;  // the journal says so already
    const Refusal refusal = append({Record::Type::write, block, target.slot, durable_ ? crc : 0});
    if (refusal != Refusal::none) {
        abandoned(block, target);
        return refusal;
    }
    if (durable_) {
        if (!target.in_place) make_fresh(target.slot);
        checks_.written(target.slot, crc);
    }
    apply_write(block, target.slot);
    step_checkpoint();
    return Refusal::none;
}

Overlay::Refusal Overlay::recorded_together(const std::vector<Placed>& blocks) {
    slots_dirty_ = true;
    for (const Placed& each : blocks) {
        const Refusal refusal =
            append({Record::Type::member, each.block, each.target.slot, durable_ ? each.crc : 0});
        if (refusal != Refusal::none) return refusal;
    }
    const Refusal refusal = append(Record::group_of(static_cast<std::uint32_t>(blocks.size())));
    if (refusal != Refusal::none) return refusal;
    // Until a mark covers them all, what is in one of these slots says whether the others count, so
    // nothing else is written there.
    for (const Placed& each : blocks) {
        make_not_fresh(each.target.slot);
        if (durable_) checks_.written(each.target.slot, each.crc);
        apply_write(each.block, each.target.slot);
    }
    step_checkpoint();
    return Refusal::none;
}

Overlay::Refusal Overlay::zeroed(std::uint32_t block, std::uint32_t count) {
    const Refusal refusal = append({Record::Type::zeroes, block, count, 0});
    if (refusal != Refusal::none) return refusal;
    apply_zero(block, count);
    step_checkpoint();
    return Refusal::none;
}

Overlay::Refusal Overlay::append(const Record& record) {
    if (sync_failed_) return Refusal::failed;
    if (const int error = journal_->append(record); error < 0) {
        // Somebody cut the journal short under us: what was acknowledged is not on record any more.
        if (journal_->failed()) sync_failed_ = true;
        return refusal_of(error);
    }
    if (next_ && !next_broken_ && next_->append(record) < 0) drop_next();
    return Refusal::none;
}

// Only when the map holds what was appended: else the checkpoint would undo it.
void Overlay::step_checkpoint() {
    if (next_)
        advance_checkpoint(kCheckpointStepBlocks);
    else
        maybe_begin_checkpoint();
}

void Overlay::apply_write(std::uint32_t block, std::uint32_t slot) {
    const BlockState before = map_.get(block);
    if (before.has_slot() && before.slot() != slot) free_slot(before.slot());
    map_.set(block, BlockState::in_slot(slot));
}

bool Overlay::base_is_zero(std::uint64_t chunk) const {
    return version_->location(chunk) == store::kZeroChunk;
}

void Overlay::zero_block(std::uint32_t block) {
    const BlockState before = map_.get(block);
    if (before.has_slot()) {
        free_slot(before.slot());
        --used_blocks_;
    }
    map_.set(block, base_is_zero(block / kChunkBlocks) ? BlockState::base() : BlockState::zero());
}

void Overlay::apply_zero(std::uint32_t block, std::uint32_t count) {
    constexpr std::uint32_t kLeaf = OverlayMap::kLeafBlocks;
    const std::uint64_t end = std::uint64_t{block} + count;
    for (std::uint64_t at = block; at < end;) {
        const auto leaf = static_cast<std::uint32_t>(at / kLeaf);
        const bool whole = at % kLeaf == 0 && end - at >= kLeaf;
        if (whole && map_.leaf_is_zero(leaf)) {
            at += kLeaf;
        } else if (whole && map_.leaf_is_base(leaf)) {
            // Zero where the version is not; where it is zero too the default says enough.
            bool base_zero = true;
            for (std::uint64_t chunk = at / kChunkBlocks;
                 chunk < (at + kLeaf) / kChunkBlocks && base_zero; ++chunk)
                base_zero = base_is_zero(chunk);
            if (!base_zero) map_.set_leaf_zero(leaf);
            at += kLeaf;
        } else {
            zero_block(static_cast<std::uint32_t>(at));
            ++at;
        }
    }
}

// ---- Slots written or freed since the last mark

bool Overlay::is_fresh(std::uint32_t slot) const {
    return slot / 64 < fresh_bits_.size() && (fresh_bits_[slot / 64] >> (slot % 64) & 1) != 0;
}

void Overlay::make_fresh(std::uint32_t slot) {
    if (is_fresh(slot)) return;
    if (slot / 64 >= fresh_bits_.size()) fresh_bits_.resize(slot / 64 + 64);
    fresh_bits_[slot / 64] |= 1ull << (slot % 64);
    fresh_.push_back(slot);
}

// It may be since another block had it.
void Overlay::make_not_fresh(std::uint32_t slot) {
    if (is_fresh(slot)) fresh_bits_[slot / 64] &= ~(1ull << (slot % 64));
}

void Overlay::free_slot(std::uint32_t slot) {
    if (!checks_.all_good()) checks_.freed(slot);
    if (holding_ && slots_->is_held(slot))
        held_back_.push_back(slot);
    else if (!durable_ || replaying_marked_ || is_fresh(slot))
        slots_->release(slot);
    else
        freed_.push_back(slot);
}

const FrozenMap& Overlay::hold() {
    CHECK(!holding_, "an overlay is held once at a time");
    holding_ = true;
    slots_->hold();
    return map_.freeze();
}

// What was held back is free like all that was given up: under durable policies when a flush that
// begins from now on has ended.
void Overlay::let_go() {
    CHECK(holding_, "an overlay that nobody holds is let go");
    holding_ = false;
    slots_->let_go();
    map_.thaw();
    for (const std::uint32_t slot : std::exchange(held_back_, {})) free_slot(slot);
}

bool Overlay::wants_flush() const {
    return durable_ && !sync_failed_ &&
           (freed_.size() >= tuning_.many_freed_slots ||
            (next_ && checkpoint_block_ >= map_.block_count()));
}

// ---- Flush

Overlay::Flush Overlay::begin_flush() {
    Flush flush;
    if (!corrections_.empty()) (void)record_corrections();  // what has no room is tried again
    flush.records = journal_->count();
    flush.with_checkpoint = next_ && checkpoint_block_ >= map_.block_count();
    flush.next_records = next_ ? next_->count() : 0;
    next_in_flush_ = flush.with_checkpoint;
    flush.slots_dirty = std::exchange(slots_dirty_, false);
    for (const std::uint32_t slot : fresh_) make_not_fresh(slot);
    fresh_.clear();
    freed_before_flush_.insert(freed_before_flush_.end(), freed_.begin(), freed_.end());
    freed_.clear();
    return flush;
}

Overlay::Refusal Overlay::mark(const Flush& flush) {
    if (const int error = journal_->reserve(1); error < 0) return refusal_of(error);
    if (const int error = journal_->append(Record::mark_of(flush.records)); error < 0)
        return refusal_of(error);
    if (flush.with_checkpoint && next_ &&
        (next_->reserve(1) < 0 || next_->append(Record::mark_of(flush.next_records)) < 0))
        drop_next();
    return Refusal::none;
}

// Gives a checkpoint up; a later one begins afresh. Its descriptor stays while a flush may sync it.
void Overlay::drop_next() {
    checkpoint_at_records_ = (journal_ ? journal_->count() : 0) + tuning_.min_checkpoint_records;
    next_broken_ = next_in_flush_;
    if (!next_in_flush_) next_.reset();
}

Result<> Overlay::install_checkpoint() {
    if (next_broken_) return failure(ErrorKind::exhausted, "no room for an overlay's next journal");
    const auto path = journal_folder() / "journal", temporary = journal_folder() / "journal.new";
    if (const int error = storage_.rename(temporary, path); error < 0)
        return system_failure(fmt::format("cannot replace {}", path.string()), -error);
    journal_ = std::move(next_);
    flushed_records_ = 0;
    checkpoint_at_records_ = std::max(tuning_.min_checkpoint_records, journal_->count() * 4);
    return {};
}

void Overlay::end_flush(const Flush& flush, bool ok) {
    next_in_flush_ = false;
    if (next_broken_) {
        next_broken_ = false;
        next_.reset();
    }
    if (!ok) {
        // After a failed sync the kernel may have dropped what it could not write: nothing written
        // since the last mark can be relied on any more, so nothing new is accepted either.
        sync_failed_ = true;
        if (journal_->reserve(1) == 0) (void)journal_->append({Record::Type::sync_failed, 0, 0, 0});
        return;
    }
    flushed_records_ = (flush.with_checkpoint ? flush.next_records : flush.records) + 1;
    // A second mark, which nobody waits for, witnesses that the first one's sync ended: by it a
    // later start tells a record that is torn from one that was good and is damaged.
    if (journal_->append(
            Record::mark_of(flush.with_checkpoint ? flush.next_records : flush.records)) == 0)
        ++flushed_records_;
    for (const std::uint32_t slot : std::exchange(freed_before_flush_, {})) slots_->release(slot);
}

// ---- Checkpoint

void Overlay::maybe_begin_checkpoint() {
    if (journal_->count() < checkpoint_at_records_) return;
    auto next = Journal::create(storage_, journal_folder() / "journal.new", make_header());
    if (!next || (*next)->reserve(2 * kCommonReserve) < 0) {
        checkpoint_at_records_ += tuning_.min_checkpoint_records;  // no room for it now
        return;
    }
    next_ = std::move(*next);
    checkpoint_block_ = 0;
}

void Overlay::advance_checkpoint(std::uint32_t blocks) {
    constexpr std::uint32_t kLeaf = OverlayMap::kLeafBlocks;
    const std::uint32_t end = map_.block_count();
    for (std::uint32_t steps = 0; steps < blocks && checkpoint_block_ < end; ++steps) {
        const std::uint32_t block = checkpoint_block_, leaf = block / kLeaf;
        const auto leaf_end = static_cast<std::uint32_t>(
            std::min<std::uint64_t>((std::uint64_t{leaf} + 1) * kLeaf, end));
        Record record;
        if (map_.leaf_is_base(leaf)) {
            checkpoint_block_ = leaf_end;
            continue;
        }
        if (map_.leaf_is_zero(leaf)) {
            record = {Record::Type::zeroes, block, leaf_end - block, 0};
            checkpoint_block_ = leaf_end;
        } else {
            const BlockState state = map_.get(block);
            ++checkpoint_block_;
            if (state.is_base()) continue;
            record = state.is_zero() ? Record{Record::Type::zeroes, block, 1, 0}
                                     : Record{Record::Type::snapshot, block, state.slot(),
                                              checks_.crc_of(state.slot())};
        }
        if (next_->reserve(kCommonReserve) < 0 || next_->append(record) < 0) return drop_next();
    }
    if (checkpoint_block_ >= end && !durable_ && journal_) {
        if (auto installed = install_checkpoint(); !installed) {
            log::warn("{}", installed.error().message);
            drop_next();
        }
    }
}

}  // namespace goldlink::disk
