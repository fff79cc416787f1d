// LinkDisk: what a link's LUN is made of: an overlay over a version. Opening makes and syncs an
// overlay, or replays its journal, so it is done on a thread that may block; from then on the disk
// is used, and closed, on the link's reactor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "target/disk/disk.hpp"
#include "target/disk/read_trace.hpp"
#include "target/reactor/io_ring.hpp"
#include "target/store/image_store.hpp"

namespace goldlink::disk {

class DiskSnapshot;

enum class Policy : std::uint8_t { discard, keep, super };

// A file of this name in an overlay's folder is the owner's, and goes with the overlay; so does
// what replace_file leaves of it when it is cut short.
inline constexpr const char* kOwnerFile = "unit.json";
inline constexpr const char* kOwnerFileUnfinished = "unit.json.new";

struct LinkDiskOptions {
    std::shared_ptr<const store::Version> version;  // base; must not be null
    Policy policy = Policy::discard;
    std::string owner;                   // the link's id; an overlay of another's is refused
    std::filesystem::path folder;        // this generation's overlay folder
    std::filesystem::path ram_folder;    // for discard: tmpfs folder of the same purpose, or empty
    std::uint64_t quota_bytes = 0;       // of overlay slots; 0: as large as the disk
    std::uint64_t ram_budget_bytes = 0;  // for discard, before it spills to `folder`
    std::uint64_t reserve_bytes = 256ull << 20;  // free space to leave on the overlay filesystem
    std::uint32_t logical_block_bytes = 512;  // 512, or 4096 (4Kn): the size must be whole blocks
    // The overlay was made before: one that is not there is not_found, and nothing is made.
    bool must_exist = false;
};

struct OverlayUsage {
    std::uint64_t used_bytes = 0;  // slots in use
    std::uint64_t quota_bytes = 0;
    std::uint64_t ram_bytes = 0;  // of which in tmpfs
    std::uint64_t journal_bytes = 0;
    // Storage could not make data durable: no more writes are taken until the disk is opened again.
    // Of a discard disk: it could not take a write.
    bool storage_failed = false;
    // Blocks that do not hold what was written: reads of them are medium errors.
    std::uint64_t bad_bytes = 0;
    std::uint64_t unchecked_bytes = 0;  // of an opened overlay: compared when they are read
};

struct ReadCounters {
    std::uint64_t cache_hits = 0, cache_misses = 0;
};

class LinkDisk : public Disk {
  public:
    // Opens the overlay in `folder`, or makes a new one when there is none and none must exist.
    // Blocks; `ring` is kept for later and not used here. An overlay made over another version or
    // of another policy is a conflict error, a damaged one corrupt; neither is changed.
    static Result<std::unique_ptr<LinkDisk>> open(LinkDiskOptions options, reactor::IoRing& ring);

    // The version itself, which nobody can write to: a CD-ROM.
    static std::unique_ptr<LinkDisk> open_read_only(std::shared_ptr<const store::Version> version,
                                                    std::uint32_t block_bytes,
                                                    reactor::IoRing& ring);

    virtual OverlayUsage usage() const = 0;
    virtual ReadCounters counters() const = 0;
    // From now on; 0: as large as the disk. One below what is used refuses further blocks only.
    virtual void set_quota(std::uint64_t quota_bytes) = 0;
    // Calls `taken`, on the reactor, with what the disk holds: at once, or when the last write that
    // changes a slot in place has ended. conflict while there is one already (also one that waits).
    using SnapshotTaken = std::function<void(Result<std::unique_ptr<const DiskSnapshot>>)>;
    virtual void take_snapshot(SnapshotTaken taken) = 0;
    // What somebody has read of these blocks of a snapshot, for the disk to know which are bad; no
    // matter when they are written anew meanwhile.
    struct CheckedBlock {
        std::uint32_t block, slot, crc;
    };
    virtual void note_checked(std::span<const CheckedBlock> blocks) = 0;
    // Set once by the owner: called on the reactor at 80 and 95 % of quota or of free space,
    // and when full.
    std::function<void(int percent)> on_space_warning;
    // Likewise: called on the reactor when storage has failed (OverlayUsage).
    std::function<void()> on_storage_failed;
    // Set by the owner while a boot is recorded: notes every read. A CD-ROM records none.
    std::shared_ptr<ReadTrace> read_trace;
    // Waits for nothing: no request may be in flight. Keeps the files.
    virtual void close() = 0;
    // Removes an overlay's files; O(1) for the caller as far as the filesystem allows.
    static Result<> destroy(const std::filesystem::path& folder,
                            const std::filesystem::path& ram_folder);
};

}  // namespace goldlink::disk
