// ResidentChunks: the chunks that are read most, mapped and locked in memory, so that a read of
// them is a pointer: no system call and no copy, and nothing that could wait for a disk.
//
// Every pack is mapped whole once, its pages locked as they come in (mlock2 with MLOCK_ONFAULT);
// that costs address space alone. A chunk of which more than kHeatUnits * 4 KiB were read is asked
// for; the one thread here brings its pages in and from then on memory_of() finds it. Over budget,
// a chunk that was not read since the clock's hand last passed makes room; a pinned one never does.
// Where locking is not permitted all this is off, and chunks are read through the page cache.
//
// Threads: PackMemory::use from any reactor, without lock or wait; the rest from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/result.hpp"

namespace goldlink::store {

class ResidentChunks;

// One pack's mapping and what is known of its slots.
class PackMemory {
  public:
    ~PackMemory();
    PackMemory(const PackMemory&) = delete;
    PackMemory& operator=(const PackMemory&) = delete;

    // The slot's chunk when it is in locked memory, else null. Notes that `bytes` of it are read.
    // The memory holds this chunk as long as the slot is in use and the PackMemory lives.
    const std::uint8_t* use(std::uint32_t slot, std::uint32_t bytes) noexcept;

  private:
    friend class ResidentChunks;
    PackMemory(std::shared_ptr<ResidentChunks> owner, const std::uint8_t* base);

    std::shared_ptr<ResidentChunks> owner_;
    const std::uint8_t* base_;
    std::unique_ptr<std::atomic<std::uint8_t>[]> states_;  // by slot
    enum class Pin : std::uint8_t { none, in_clock, out_of_clock };
    std::vector<Pin> pins_;  // by slot, or empty; guarded by the owner's mutex
};

class ResidentChunks : public std::enable_shared_from_this<ResidentChunks> {
  public:
    static constexpr std::uint8_t kHeatUnits = 17;  // one more than a chunk has of 4 KiB
    static constexpr std::size_t kMaxAsked = 4096;

    // budget_bytes 0: off.
    explicit ResidentChunks(std::uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}
    ~ResidentChunks();

    // Maps the pack behind `fd`; null when this is off or the system does not let us lock.
    std::unique_ptr<PackMemory> map(int fd);
    // Slots [first, first + count) of a pack get other contents.
    void forget(PackMemory& pack, std::uint32_t first, std::uint32_t count);
    // Brings a chunk in, waiting for its disk, and keeps it until unpin() or forget(). False when
    // the budget is full of pinned chunks, or its pages cannot be read.
    bool pin(PackMemory& pack, std::uint32_t slot);
    // From now on it may make room for others.
    void unpin(PackMemory& pack, std::uint32_t slot);
    // Returns when everything asked for so far was dealt with. For tests.
    void settle();

    std::uint64_t budget_bytes() const { return budget_bytes_; }
    std::uint64_t resident_bytes() const { return resident_bytes_.load(std::memory_order_relaxed); }
    std::uint64_t pinned_bytes() const { return pinned_bytes_.load(std::memory_order_relaxed); }

  private:
    friend class PackMemory;
    struct Place {
        PackMemory* pack;
        std::uint32_t slot;
    };

    void ask(PackMemory& pack, std::uint32_t slot) noexcept;
    void run();
    void bring_in(Place place);
    bool populate(const Place& place);
    bool make_room(bool must);
    void release(PackMemory& pack);

    const std::uint64_t budget_bytes_;
    std::atomic<std::uint64_t> resident_bytes_{0};
    std::atomic<std::uint64_t> pinned_bytes_{0};  // of these

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<Place> asked_;
    std::vector<Place> resident_;  // a clock; pinned ones leave it when the hand meets them
    std::size_t hand_ = 0;
    bool running_ = false;
    bool stopping_ = false;
    bool refused_ = false;  // the system does not let us lock
    std::thread thread_;
};

// A quarter of the machine's memory.
std::uint64_t default_resident_budget_bytes();

}  // namespace goldlink::store
