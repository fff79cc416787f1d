// OverlayDisk: LinkDisk over a version and an Overlay. A request that memory can answer (page
// cache, mapped slots) is finished inside submit(), without an allocation or a lock; what storage
// must be waited for becomes a PendingRequest and goes through the ring.
//
// Requests that overlap are kept in order: one that touches blocks of a pending request waits for
// it, unless both only read. One thread.
#pragma once

#include <memory>
#include <vector>

#include "target/disk/overlay.hpp"

namespace goldlink::disk {

inline constexpr std::uint32_t kMaxAtomicBytes = 128 * 1024;

class OverlayDisk final : public LinkDisk {
  public:
    OverlayDisk(std::unique_ptr<Overlay> overlay, LinkDiskOptions options, reactor::IoRing& ring,
                store::Storage& storage);
    ~OverlayDisk() override;

    const Geometry& geometry() const override { return geometry_; }
    Submit submit(Request& request) noexcept override;
    Extent extent_at(std::uint64_t offset_bytes, std::uint64_t max_bytes) const override;
    std::optional<ThinSpace> space() const override;
    OverlayUsage usage() const override;
    void set_quota(std::uint64_t quota_bytes) override;
    ReadCounters counters() const override { return counters_; }
    void take_snapshot(SnapshotTaken taken) override;
    void note_checked(std::span<const CheckedBlock> blocks) override;
    void close() override;

  private:
    // A run of bytes in one file that is contiguous there and, but for edge blocks, in memory.
    struct Piece {
        int fd = -1;
        std::uint64_t offset_bytes = 0;
        std::uint8_t* data = nullptr;
        std::uint64_t length_bytes = 0;
        bool memory_backed = false;
        bool of_base = false;
    };
    struct BlockWrite {
        std::uint32_t block = 0;
        std::uint32_t crc = 0;
        Overlay::Target target;
    };
    struct PendingRequest;
    struct Transfer;  // one ring operation of a PendingRequest

    enum class Progress : std::uint8_t { done, missed, failed };

    // Requests
    Submit start(Request& request) noexcept;
    Submit start_read(Request& request) noexcept;
    bool lend(Request& request) noexcept;
    Submit start_write(Request& request) noexcept;
    Submit start_flush(Request& request) noexcept;
    Submit finish(Request& request, Outcome outcome) noexcept;
    bool must_wait(const Request& request) const noexcept;
    void run_waiting(Request*& finished) noexcept;

    // Reading
    std::uint64_t base_run(std::uint64_t offset, std::uint64_t length) const noexcept;
    template <typename OnPiece>
    bool for_each_piece(std::uint64_t offset, std::uint8_t* data, std::uint64_t length,
                        OnPiece&& on_piece);
    Progress read_now(Piece& piece) noexcept;
    Progress read_all(std::uint64_t offset, std::uint8_t* data, std::uint64_t length,
                      Request& request, PendingRequest*& pending) noexcept;

    // Checking (overlay_disk_check.cpp)
    Progress check_blocks(std::uint64_t first, std::uint64_t last, Request& request,
                          PendingRequest*& pending) noexcept;
    Progress check_edges(Request& request, bool head, bool tail, PendingRequest*& pending) noexcept;
    void on_checked(PendingRequest& pending) noexcept;

    // Writing
    Progress load_edges(Request& request, PendingRequest*& pending) noexcept;
    Submit write_blocks(Request& request, PendingRequest* pending) noexcept;
    Outcome gather_blocks(Request& request, std::uint8_t* edges, bool async,
                          PendingRequest*& pending) noexcept;
    Outcome write_together(Request& request, std::uint8_t* edge_blocks) noexcept;
    Outcome store_block(const SlotPlace& place, std::uint8_t* data) noexcept;
    bool same_as_base(std::uint32_t block, const std::uint8_t* data) noexcept;
    bool write_part_in_place(std::uint32_t block, std::uint64_t in_block, const std::uint8_t* data,
                             std::uint64_t length) noexcept;
    Outcome write_piece(Request& request, bool async, PendingRequest*& pending) noexcept;
    Outcome record(const std::vector<BlockWrite>& blocks) noexcept;
    void abandon(const std::vector<BlockWrite>& blocks, std::size_t from) noexcept;
    Outcome outcome_of(Overlay::Refusal refusal) noexcept;
    void note_write_time(std::int64_t started_us) noexcept;
    bool throttled() const noexcept { return throttled_writes_ > 0; }

    // Pending requests
    PendingRequest& make_pending(Request& request) noexcept;
    void add_transfer(PendingRequest& pending, const Piece& piece, bool write) noexcept;
    Submit send(PendingRequest& pending) noexcept;
    void on_transfer(Transfer& transfer) noexcept;
    void note_write_failed() noexcept;
    void on_all_transfers(PendingRequest& pending) noexcept;
    void retire(PendingRequest& pending, Outcome outcome) noexcept;

    // Flush
    void run_flush() noexcept;
    using AfterSync = void (OverlayDisk::*)(bool ok) noexcept;
    void sync(int fd, reactor::IoOperation::Kind kind, AfterSync then) noexcept;
    void on_slots_synced(bool ok) noexcept;
    void on_journal_synced(bool ok) noexcept;
    void on_next_journal_synced(bool ok) noexcept;
    void on_folder_synced(bool ok) noexcept;
    void end_flush(Outcome outcome) noexcept;
    void maybe_flush() noexcept;

    void give_wanted_snapshot() noexcept;

    void check_space() noexcept;
    void warn_of_space() noexcept;

    static void complete_all(Request* finished) noexcept;

    const LinkDiskOptions options_;
    std::unique_ptr<Overlay> overlay_;
    reactor::IoRing& ring_;
    store::Storage& storage_;
    Geometry geometry_;
    ReadCounters counters_;
    bool base_in_memory_ = false;
    bool closed_ = false;

    // The write being gathered; kept for their capacity.
    std::vector<BlockWrite> piece_blocks_;
    std::vector<iovec> piece_vectors_;
    Piece piece_;
    std::vector<std::uint8_t> edges_;  // two blocks: the first and last of a write not whole

    unsigned compare_every_ = 1;  // how often a first write is compared with the base
    unsigned compare_countdown_ = 1;
    unsigned throttled_writes_ = 0;  // that still go through the ring

    std::vector<PendingRequest*> active_;
    std::vector<std::unique_ptr<PendingRequest>> pool_;
    std::vector<PendingRequest*> idle_;
    Request* waiting_head_ = nullptr;
    Request* waiting_tail_ = nullptr;

    SnapshotTaken snapshot_wanted_;  // waits for writes in place to end

    // Flush state
    bool flushing_ = false;
    Overlay::Flush flush_;
    Request* flush_running_ = nullptr;  // end with the running flush
    Request* flush_queued_ = nullptr;   // with the one after it
    bool write_failed_ = false;         // of one that is never flushed
    struct SyncOperation;
    std::unique_ptr<SyncOperation> sync_;
    std::uint64_t checked_blocks_ = 0;  // used_blocks at the last look at the space
    static constexpr int kFillingPercent = 80, kFullSoonPercent = 95;
    int warned_percent_ = 0;  // one of these, 0 or 100: what was warned of last
};

// The simulation's way in: `storage` stands for the kernel.
Result<std::unique_ptr<LinkDisk>> open_link_disk(LinkDiskOptions options, reactor::IoRing& ring,
                                                 store::Storage& storage,
                                                 const OverlayTuning& tuning = {});

}  // namespace goldlink::disk
