// VersionDisk: a version itself as a disk nobody can write to (a CD-ROM): no overlay, no files of
// its own. A read that the page cache can answer is finished inside submit(), without an allocation
// or a lock; of one that it cannot, the missing runs go through the ring one after the other.
//
// Used on one reactor. The size is rounded up to whole blocks; the rest reads as zero.
#pragma once

#include <memory>
#include <vector>

#include "target/disk/link_disk.hpp"
#include "target/store/storage.hpp"

namespace goldlink::disk {

class VersionDisk final : public LinkDisk {
  public:
    // `block_bytes`: a power of two from 512 to 64 KiB.
    VersionDisk(std::shared_ptr<const store::Version> version, std::uint32_t block_bytes,
                reactor::IoRing& ring, store::Storage& storage);
    ~VersionDisk() override;

    const Geometry& geometry() const override { return geometry_; }
    Submit submit(Request& request) noexcept override;
    Extent extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const override;
    OverlayUsage usage() const override { return {}; }
    void set_quota(std::uint64_t) override {}  // nothing is written to it
    ReadCounters counters() const override { return counters_; }
    void take_snapshot(SnapshotTaken taken) override;  // refused: it is its version
    void note_checked(std::span<const CheckedBlock>) override {}
    void close() override { closed_ = true; }

  private:
    // Bytes that are contiguous in one pack file; fd -1: zeroes, or of bad chunks.
    struct Run {
        int fd = -1;
        bool bad = false;
        std::uint64_t offset_bytes = 0;
        std::uint64_t length_bytes = 0;
    };
    struct Pending;
    enum class Progress : std::uint8_t { done, missed, failed };

    Run run_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const;
    // Goes on from `done_bytes` as far as memory answers; `missed` is what is to be read next.
    Progress read_cached(Request& request, std::uint64_t& done_bytes, Run& missed) noexcept;
    void read_later(Pending& pending, const Run& run) noexcept;
    void on_read(Pending& pending) noexcept;

    const std::shared_ptr<const store::Version> version_;
    reactor::IoRing& ring_;
    store::Storage& storage_;
    Geometry geometry_;
    ReadCounters counters_;
    bool in_memory_ = false;
    bool closed_ = false;
    std::size_t in_flight_ = 0;
    std::vector<std::unique_ptr<Pending>> pool_;  // as many as were ever in flight at once
    std::vector<Pending*> idle_;
};

}  // namespace goldlink::disk
