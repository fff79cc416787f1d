// OverlaySalvage: what can still be read of a durable overlay that is damaged, or not damaged at
// all: its journal's good records, bad ones left out, and those slots that hold what was written.
// Changes nothing in the overlay's folder. For a thread that may block, while no disk has it open.
//
// Three kinds of blocks: good (the last record of it lies behind all damage, or nothing is damaged,
// and its slot is right), doubtful (right as of some time: a lost record may have been later), and
// lost (its slot is not what was written, or cannot be read), which read as zeros.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "target/disk/journal.hpp"
#include "target/disk/overlay_map.hpp"
#include "target/disk/slot_checks.hpp"
#include "target/store/version_diff.hpp"

namespace goldlink::disk {

class OverlaySalvage {
  public:
    // `version`: the one the overlay was made over. conflict when it was not; an error when not
    // even the journal's head is there to be read.
    static Result<std::unique_ptr<OverlaySalvage>> open(store::Storage& storage,
                                                        const std::filesystem::path& folder,
                                                        const store::Version& version);
    ~OverlaySalvage();

    // Chunks that hold blocks of the overlay, ascending.
    std::vector<std::uint64_t> changed_chunks() const;
    using ReadBase = std::function<Result<>(std::uint64_t chunk, std::uint8_t* data)>;
    // Fills a chunk (zeros past the disk's end) and notes what of it is lost.
    Result<> read_chunk(std::uint64_t chunk, std::uint8_t* data, const ReadBase& read_base);

    struct Range {
        std::uint64_t offset_bytes, length_bytes;
    };
    struct Report {
        std::uint64_t bad_records = 0;  // of the journal
        std::uint64_t lost_bytes = 0, doubtful_bytes = 0;
        // At most kMaxRanges each. When records are lost, parts of the disk that the overlay does
        // not have may have been written too.
        std::vector<Range> lost, doubtful;
    };
    static constexpr std::size_t kMaxRanges = 1000;
    Report report() const;  // of the chunks that were read

  private:
    OverlaySalvage(store::Storage& storage, const store::Version& version);
    Result<> replay();
    void apply(const Record& record, bool doubtful);
    void zero(std::uint32_t block, std::uint32_t count, bool doubtful);
    bool read_slot(std::uint32_t slot, std::uint8_t* data) const;

    store::Storage& storage_;
    const store::Version& version_;
    std::unique_ptr<Journal> journal_;
    int slots_fd_ = -1;
    OverlayMap map_;
    SlotChecks checks_;
    std::vector<std::uint32_t> owners_;  // by slot: the block that has it, as far as is known
    std::vector<bool> doubtful_, lost_;  // by block
};

}  // namespace goldlink::disk
