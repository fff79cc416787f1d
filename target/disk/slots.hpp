// Slots: the files that hold an overlay's blocks, 4 KiB each with nothing between them, and the
// space they take. Slots below ram_slots are in the file slots-ram (tmpfs, mapped), the others in
// the file slots. One thread.
//
// A slots file is made with its overlay, never later; one that is shorter than its journal says
// has slots past its end, which nobody is given.
//
// Space is made ahead in steps, so a write into a slot never meets a full filesystem; where a
// step would leave less than the reserve free, there is no slot.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "common/result.hpp"
#include "target/disk/slot_allocator.hpp"
#include "target/store/memory_guard.hpp"
#include "target/store/storage.hpp"

namespace goldlink::disk {

struct SlotPlace {
    int fd = -1;
    std::uint64_t offset_bytes = 0;
    std::uint8_t* mapped = nullptr;  // the slot's bytes, where they are memory
    bool memory_backed = false;
};

class Slots {
  public:
    struct Options {
        std::filesystem::path folder;
        std::filesystem::path ram_folder;  // with ram_slots > 0
        std::uint32_t ram_slots = 0;
        std::uint64_t reserve_bytes = 0;
        bool empty = false;  // a new overlay: the files are made, what they hold is dropped
        std::uint64_t disk_blocks = 0;  // how many the disk has: bounds what a journal may name
    };
    static Result<std::unique_ptr<Slots>> open(store::Storage& storage, const Options& options);
    ~Slots();
    static Failure missing(const std::filesystem::path& file);

    std::optional<std::uint32_t> take();
    void release(std::uint32_t slot);
    bool mark_taken(std::uint32_t slot);  // replay; false: it is already, or no disk has so many
    bool is_past_end(std::uint32_t slot) const;
    SlotPlace place(std::uint32_t slot) const;  // any thread

    // From hold() to let_go() the slots that were taken then are held: what is in them has a
    // reader beside the client, so their owner neither writes to them nor releases them.
    void hold();
    void let_go();
    bool is_held(std::uint32_t slot) const;
    std::uint64_t taken() const { return std::uint64_t{ram_free_.taken()} + disk_free_.taken(); }

    // `count` slots one after the other, in one file; blocks. Any thread.
    Result<> read(std::uint32_t slot, std::uint8_t* data, std::uint32_t count = 1) const;
    bool in_one_file(std::uint32_t slot, std::uint32_t other) const {
        return (slot < ram_slots_) == (other < ram_slots_);
    }
    // Writes a whole slot, blocking; for replay.
    Result<> write(std::uint32_t slot, std::uint8_t* data);

    // Some of the mapped memory was not there when it was touched: none of it is relied on.
    bool memory_failed() const { return ram_guard_ && ram_guard_->failed(); }

    std::uint64_t ram_bytes() const;
    int disk_fd() const { return disk_.fd; }
    // Of the overlay filesystem: bytes free beyond the reserve, as of the last step.
    std::uint64_t spare_bytes() const { return spare_bytes_; }

  private:
    struct File {
        int fd = -1;
        std::uint64_t allocated_bytes = 0;
        bool memory_backed = false;
        std::uint8_t* mapped = nullptr;
        std::uint64_t mapped_bytes = 0;
    };
    Slots(store::Storage& storage, const Options& options)
        : storage_(storage),
          options_(options),
          ram_slots_(options.ram_slots),
          ram_free_(options.ram_slots),
          disk_free_(0xfffffffeu - options.ram_slots) {}
    std::uint32_t number_of(std::uint32_t slot) const {
        return slot < ram_slots_ ? slot : slot - ram_slots_;
    }
    Result<> open_file(File& file, const std::filesystem::path& path);
    bool grow(File& file, std::uint64_t needed_bytes, std::uint64_t step, std::uint64_t reserve,
              const std::filesystem::path& folder);
    std::uint64_t disk_step() const;

    store::Storage& storage_;
    const Options options_;
    const std::uint32_t ram_slots_;
    File ram_, disk_;
    std::unique_ptr<store::MemoryGuard> ram_guard_;
    SlotAllocator ram_free_, disk_free_;
    bool holding_ = false;
    std::vector<std::uint64_t> held_ram_, held_disk_;  // a bit a slot
    std::uint64_t spare_bytes_ = ~std::uint64_t{0};
};

}  // namespace goldlink::disk
