#include "target/disk/overlay_salvage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace goldlink::disk {

namespace {

constexpr std::uint32_t kNobody = 0xffffffffu;
constexpr std::uint32_t kChunkBlocks = store::kChunkBytes / kBlockBytes;

std::uint32_t blocks_of(std::uint64_t bytes) {
    return static_cast<std::uint32_t>((bytes + kBlockBytes - 1) / kBlockBytes);
}

}  // namespace

OverlaySalvage::OverlaySalvage(store::Storage& storage, const store::Version& version)
    : storage_(storage),
      version_(version),
      map_(blocks_of(version.size_bytes())),
      doubtful_(map_.block_count()),
      lost_(map_.block_count()) {}

OverlaySalvage::~OverlaySalvage() {
    if (slots_fd_ >= 0) storage_.close(slots_fd_);
}

Result<std::unique_ptr<OverlaySalvage>> OverlaySalvage::open(store::Storage& storage,
                                                             const std::filesystem::path& folder,
                                                             const store::Version& version) {
    std::unique_ptr<OverlaySalvage> salvage(new OverlaySalvage(storage, version));
    GOLDLINK_TRY_ASSIGN(salvage->journal_, Journal::open(storage, folder / "journal"));
    const JournalHeader& header = salvage->journal_->header();
    if (header.version_digest != version.digest() || header.size_bytes != version.size_bytes())
        return failure(ErrorKind::conflict,
                       fmt::format("the overlay in {} was made over version {}, not {}",
                                   folder.string(), header.version_digest, version.digest()));
    if (header.policy == 0)
        return failure(ErrorKind::conflict,
                       fmt::format("the overlay in {} is a discard disk's: nothing says what its "
                                   "blocks should be",
                                   folder.string()));
    salvage->slots_fd_ = storage.open_read_only(folder / "slots");  // without it all are lost
    GOLDLINK_TRY(salvage->replay());
    return salvage;
}

Result<> OverlaySalvage::replay() {
    const Journal::End end = journal_->end();
    const bool damaged = end.behind > 0;
    journal_->skip_bad_records();
    std::uint64_t marked = 0;
    GOLDLINK_TRY(journal_->for_each([&](std::uint64_t index, const Record& record) -> Result<> {
        if (record.type == Record::Type::mark) marked = std::min(record.marked_index(), index);
        return {};
    }));
    std::vector<std::uint8_t> data(kBlockBytes);
    std::vector<Record> members;
    return journal_->for_each([&](std::uint64_t index, const Record& record) -> Result<> {
        const bool doubtful = damaged && index < end.last_bad;
        // What no flush covered counts when it is there.
        const auto is_there = [&](const Record& each) {
            return index < marked || (read_slot(each.slot, data.data()) &&
                                      crc32c(data.data(), data.size()) == each.crc);
        };
        switch (record.type) {
            case Record::Type::mark:
            case Record::Type::sync_failed:
                return {};
            case Record::Type::zeroes:
                zero(record.block, record.slot, doubtful);
                return {};
            case Record::Type::snapshot:
                apply(record, doubtful);
                return {};
            case Record::Type::write:
                if (is_there(record)) apply(record, doubtful);
                return {};
            case Record::Type::member:
                members.push_back(record);
                return {};
            case Record::Type::group:
                if (record.block <= members.size() &&
                    std::all_of(members.end() - record.block, members.end(), is_there))
                    for (auto each = members.end() - record.block; each != members.end(); ++each)
                        apply(*each, doubtful);
                members.clear();
                return {};
        }
        return {};
    });
}

void OverlaySalvage::apply(const Record& record, bool doubtful) {
    const std::uint64_t most_slots = 4 * std::uint64_t{map_.block_count()} + (1u << 20);
    if (record.block >= map_.block_count() || record.slot >= most_slots) return;
    if (record.slot >= owners_.size()) owners_.resize(record.slot + 1, kNobody);
    // The record that moved the slot's block elsewhere, or zeroed it, is among those that are lost.
    const std::uint32_t owner = std::exchange(owners_[record.slot], record.block);
    if (owner != kNobody && owner != record.block &&
        map_.get(owner) == BlockState::in_slot(record.slot)) {
        map_.set(owner, BlockState::zero());
        lost_[owner] = true;
    }
    map_.set(record.block, BlockState::in_slot(record.slot));
    checks_.written(record.slot, record.crc);
    doubtful_[record.block] = doubtful;
    lost_[record.block] = false;
}

void OverlaySalvage::zero(std::uint32_t block, std::uint32_t count, bool doubtful) {
    const std::uint64_t end =
        std::min<std::uint64_t>(std::uint64_t{block} + count, map_.block_count());
    for (std::uint64_t at = block; at < end; ++at) {
        map_.set(static_cast<std::uint32_t>(at), BlockState::zero());
        doubtful_[at] = doubtful;
        lost_[at] = false;
    }
}

bool OverlaySalvage::read_slot(std::uint32_t slot, std::uint8_t* data) const {
    const std::uint64_t offset = std::uint64_t{slot} * kBlockBytes;
    for (std::size_t done = 0; done < kBlockBytes;) {
        if (slots_fd_ < 0) return false;
        const std::int64_t n =
            storage_.read(slots_fd_, data + done, kBlockBytes - done, offset + done);
        if (n <= 0) return false;
        done += static_cast<std::size_t>(n);
    }
    return true;
}

std::vector<std::uint64_t> OverlaySalvage::changed_chunks() const {
    std::vector<std::uint64_t> chunks;
    for (std::uint64_t block = 0; block < map_.block_count();) {
        const auto leaf = static_cast<std::uint32_t>(block / OverlayMap::kLeafBlocks);
        if (map_.leaf_is_base(leaf)) {
            block = (std::uint64_t{leaf} + 1) * OverlayMap::kLeafBlocks;
        } else if (map_.get(static_cast<std::uint32_t>(block)).is_base()) {
            ++block;
        } else {
            chunks.push_back(block / kChunkBlocks);
            block = (block / kChunkBlocks + 1) * kChunkBlocks;
        }
    }
    return chunks;
}

Result<> OverlaySalvage::read_chunk(std::uint64_t chunk, std::uint8_t* data,
                                    const ReadBase& read_base) {
    const std::uint64_t first = chunk * kChunkBlocks;
    const std::uint64_t end = std::min<std::uint64_t>(first + kChunkBlocks, map_.block_count());
    bool needs_base = false;
    for (std::uint64_t block = first; block < end; ++block)
        needs_base = needs_base || map_.get(static_cast<std::uint32_t>(block)).is_base();
    std::memset(data, 0, store::kChunkBytes);
    if (needs_base) GOLDLINK_TRY(read_base(chunk, data));
    for (std::uint64_t block = first; block < end; ++block) {
        const BlockState state = map_.get(static_cast<std::uint32_t>(block));
        if (state.is_base()) continue;
        std::uint8_t* const at = data + (block - first) * kBlockBytes;
        const bool has_it = state.has_slot() && read_slot(state.slot(), at);
        const std::uint32_t wanted = state.has_slot() ? checks_.crc_of(state.slot()) : 0;
        if (state.has_slot() && (!has_it || (wanted != 0 && crc32c(at, kBlockBytes) != wanted)))
            lost_[block] = true;
        if (!has_it || lost_[block]) std::memset(at, 0, kBlockBytes);
    }
    const std::uint64_t left = version_.size_bytes() - chunk * store::kChunkBytes;
    if (left < store::kChunkBytes) std::memset(data + left, 0, store::kChunkBytes - left);
    return {};
}

OverlaySalvage::Report OverlaySalvage::report() const {
    Report report;
    const Journal::End& end = journal_->end();
    if (end.behind > 0) report.bad_records = end.good_end - end.first_bad - end.behind;
    const auto add = [](std::vector<Range>& ranges, std::uint64_t& sum, std::uint64_t block) {
        const std::uint64_t offset = block * kBlockBytes;
        sum += kBlockBytes;
        if (!ranges.empty() && ranges.back().offset_bytes + ranges.back().length_bytes == offset)
            ranges.back().length_bytes += kBlockBytes;
        else if (ranges.size() < kMaxRanges)
            ranges.push_back({offset, kBlockBytes});
    };
    for (std::uint64_t block = 0; block < map_.block_count(); ++block) {
        if (lost_[block])
            add(report.lost, report.lost_bytes, block);
        else if (doubtful_[block] && !map_.get(static_cast<std::uint32_t>(block)).is_base())
            add(report.doubtful, report.doubtful_bytes, block);
    }
    return report;
}

}  // namespace goldlink::disk
