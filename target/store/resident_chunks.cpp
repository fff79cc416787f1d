#include "target/store/resident_chunks.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/log.hpp"
#include "target/store/packs.hpp"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

namespace goldlink::store {

namespace {

constexpr std::size_t kPackBytes = kSlotsPerPack * kChunkBytes;
constexpr std::uint32_t kUnitBytes = 4096;

// A slot's state: its heat (units read, below kHeatUnits), or one of these.
constexpr std::uint8_t kAsked = 0xFC;       // waits for the thread
constexpr std::uint8_t kUnreadable = 0xFD;  // its pages did not come: read it the other way
constexpr std::uint8_t kResident = 0xFE;    // not read since the hand last passed
constexpr std::uint8_t kResidentUsed = 0xFF;

void* address_of(const std::uint8_t* base, std::uint32_t slot) {
    return const_cast<std::uint8_t*>(base) + std::size_t{slot} * kChunkBytes;
}

}  // namespace

std::uint64_t default_resident_budget_bytes() {
    const long pages = ::sysconf(_SC_PHYS_PAGES), page_bytes = ::sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0) return 0;
    return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes) / 4;
}

// ---- A pack

PackMemory::PackMemory(std::shared_ptr<ResidentChunks> owner, const std::uint8_t* base)
    : owner_(std::move(owner)),
      base_(base),
      states_(std::make_unique<std::atomic<std::uint8_t>[]>(kSlotsPerPack)) {}

PackMemory::~PackMemory() {
    owner_->release(*this);
    ::munmap(const_cast<std::uint8_t*>(base_), kPackBytes);
}

const std::uint8_t* PackMemory::use(std::uint32_t slot, std::uint32_t bytes) noexcept {
    std::atomic<std::uint8_t>& state = states_[slot];
    std::uint8_t seen = state.load(std::memory_order_acquire);
    if (seen == kResidentUsed) [[likely]]
        return base_ + std::size_t{slot} * kChunkBytes;
    if (seen == kResident)
        return state.compare_exchange_strong(seen, kResidentUsed, std::memory_order_acq_rel)
                   ? base_ + std::size_t{slot} * kChunkBytes
                   : nullptr;
    if (seen >= kAsked) return nullptr;
    const std::uint32_t heat = seen + (bytes + kUnitBytes - 1) / kUnitBytes;
    if (heat < ResidentChunks::kHeatUnits)
        state.compare_exchange_strong(seen, static_cast<std::uint8_t>(heat),
                                      std::memory_order_relaxed);
    else
        owner_->ask(*this, slot);
    return nullptr;
}

// ---- All of them

ResidentChunks::~ResidentChunks() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

std::unique_ptr<PackMemory> ResidentChunks::map(int fd) {
    std::unique_lock lock(mutex_);
    if (budget_bytes_ < kChunkBytes || refused_) return nullptr;
    void* base = ::mmap(nullptr, kPackBytes, PROT_READ, MAP_SHARED, fd, 0);
    const bool mapped = base != MAP_FAILED;
    if (!mapped || ::mlock2(base, kPackBytes, MLOCK_ONFAULT) != 0) {
        log::warn(
            "chunks that are read much are not kept in locked memory: {}; give the process "
            "CAP_IPC_LOCK or raise its limit of locked memory (LimitMEMLOCK=infinity), or "
            "say --locked-memory 0",
            std::strerror(errno));
        if (mapped) ::munmap(base, kPackBytes);
        refused_ = true;
        return nullptr;
    }
    // Whoever reads far reads through the page cache; here every page is asked for by name.
    ::madvise(base, kPackBytes, MADV_RANDOM);
    if (!thread_.joinable()) {
        asked_.reserve(kMaxAsked);
        thread_ = std::thread([this] { run(); });
        changed_.wait(lock, [this] { return running_; });
    }
    return std::unique_ptr<PackMemory>(
        new PackMemory(shared_from_this(), static_cast<const std::uint8_t*>(base)));
}

// From a reactor: gives up at once while the thread is at work; a later read asks again.
void ResidentChunks::ask(PackMemory& pack, std::uint32_t slot) noexcept {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || asked_.size() == kMaxAsked || stopping_) return;
    std::atomic<std::uint8_t>& state = pack.states_[slot];
    std::uint8_t seen = state.load(std::memory_order_relaxed);
    do
        if (seen >= kAsked) return;
    while (!state.compare_exchange_weak(seen, kAsked, std::memory_order_acq_rel));
    asked_.push_back({&pack, slot});
    changed_.notify_one();
}

void ResidentChunks::run() {
    pthread_setname_np(pthread_self(), "resident");
    std::unique_lock lock(mutex_);
    running_ = true;
    changed_.notify_all();
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !asked_.empty(); });
        if (stopping_) return;
        // The newest first: it is the likeliest to be read again.
        const Place place = asked_.back();
        asked_.pop_back();
        bring_in(place);  // under the lock: nobody forgets or unmaps the slot meanwhile
        if (asked_.empty()) changed_.notify_all();
    }
}

void ResidentChunks::bring_in(Place place) {
    std::atomic<std::uint8_t>& state = place.pack->states_[place.slot];
    if (state.load(std::memory_order_relaxed) != kAsked) return;  // pinned meanwhile
    if (!make_room(false))
        state.store(0, std::memory_order_release);
    else if (populate(place))
        resident_.push_back(place);
}

bool ResidentChunks::populate(const Place& place) {
    std::atomic<std::uint8_t>& state = place.pack->states_[place.slot];
    if (::madvise(address_of(place.pack->base_, place.slot), kChunkBytes, MADV_POPULATE_READ) !=
        0) {
        // Past the file's end, or unreadable: who reads it is told so by the read itself.
        state.store(kUnreadable, std::memory_order_release);
        return false;
    }
    resident_bytes_.fetch_add(kChunkBytes, std::memory_order_relaxed);
    state.store(kResidentUsed, std::memory_order_release);
    return true;
}

// True when one more chunk fits into the budget. One that was not read for a turn of the clock
// leaves; when all were, the newcomer does not come, unless it `must`: then the next one leaves
// that is not pinned.
bool ResidentChunks::make_room(bool must) {
    if (resident_bytes() + kChunkBytes <= budget_bytes_) return true;
    constexpr std::size_t kMaxSteps = 256;  // the hand goes on from there the next time
    const std::size_t steps = std::min(kMaxSteps, resident_.size());
    for (std::size_t step = 0; step < steps && !resident_.empty();) {
        hand_ = hand_ < resident_.size() ? hand_ : 0;
        const Place place = resident_[hand_];
        const auto leave_clock = [&] {
            resident_[hand_] = resident_.back();
            resident_.pop_back();
        };
        if (!place.pack->pins_.empty() && place.pack->pins_[place.slot] != PackMemory::Pin::none) {
            place.pack->pins_[place.slot] = PackMemory::Pin::out_of_clock;
            leave_clock();
            continue;
        }
        ++step;
        std::atomic<std::uint8_t>& state = place.pack->states_[place.slot];
        std::uint8_t seen = kResident;
        if (must) {
            state.store(0, std::memory_order_release);
        } else if (!state.compare_exchange_strong(seen, 0, std::memory_order_acq_rel)) {
            seen = kResidentUsed;
            state.compare_exchange_strong(seen, kResident, std::memory_order_acq_rel);
            ++hand_;
            continue;
        }
        // A reply that still points there is sent all the same: its pages come in again.
        ::madvise(address_of(place.pack->base_, place.slot), kChunkBytes, MADV_DONTNEED_LOCKED);
        leave_clock();
        resident_bytes_.fetch_sub(kChunkBytes, std::memory_order_relaxed);
        return true;
    }
    return false;
}

bool ResidentChunks::pin(PackMemory& pack, std::uint32_t slot) {
    using Pin = PackMemory::Pin;
    const std::lock_guard lock(mutex_);
    if (pack.pins_.empty()) pack.pins_.resize(kSlotsPerPack);
    if (pack.pins_[slot] != Pin::none) return true;
    const std::uint8_t seen = pack.states_[slot].load(std::memory_order_acquire);
    if (seen == kResident || seen == kResidentUsed) {
        pack.pins_[slot] = Pin::in_clock;
    } else {
        if (!make_room(true) || !populate({&pack, slot})) return false;
        pack.pins_[slot] = Pin::out_of_clock;
    }
    pinned_bytes_.fetch_add(kChunkBytes, std::memory_order_relaxed);
    return true;
}

void ResidentChunks::unpin(PackMemory& pack, std::uint32_t slot) {
    using Pin = PackMemory::Pin;
    const std::lock_guard lock(mutex_);
    if (pack.pins_.empty() || pack.pins_[slot] == Pin::none) return;
    if (std::exchange(pack.pins_[slot], Pin::none) == Pin::out_of_clock)
        resident_.push_back({&pack, slot});
    pinned_bytes_.fetch_sub(kChunkBytes, std::memory_order_relaxed);
}

void ResidentChunks::forget(PackMemory& pack, std::uint32_t first, std::uint32_t count) {
    const std::lock_guard lock(mutex_);
    const auto concerned = [&](const Place& place) {
        return place.pack == &pack && place.slot >= first && place.slot - first < count;
    };
    std::erase_if(asked_, concerned);
    std::size_t gone = std::erase_if(resident_, concerned);
    for (std::uint32_t slot = first; slot < first + count && !pack.pins_.empty(); ++slot) {
        const auto pin = std::exchange(pack.pins_[slot], PackMemory::Pin::none);
        if (pin == PackMemory::Pin::none) continue;
        pinned_bytes_.fetch_sub(kChunkBytes, std::memory_order_relaxed);
        if (pin == PackMemory::Pin::out_of_clock) ++gone;
    }
    resident_bytes_.fetch_sub(gone * kChunkBytes, std::memory_order_relaxed);
    for (std::uint32_t slot = first; slot < first + count; ++slot)
        pack.states_[slot].store(0, std::memory_order_release);
    if (gone > 0)
        ::madvise(address_of(pack.base_, first), std::size_t{count} * kChunkBytes,
                  MADV_DONTNEED_LOCKED);
}

void ResidentChunks::release(PackMemory& pack) { forget(pack, 0, kSlotsPerPack); }

void ResidentChunks::settle() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || asked_.empty(); });
}

}  // namespace goldlink::store
