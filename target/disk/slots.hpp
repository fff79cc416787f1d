// Slots: the files that hold an overlay's blocks, 4 KiB each with nothing between them, and the
// space they take. Slots below ram_slots are in the file slots-ram (tmpfs, mapped), the others in
// the file slots. One thread.
//
// Space is made ahead in steps, so a write into a slot never meets a full filesystem; where a
// step would leave less than the reserve free, there is no slot.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "common/result.hpp"
#include "target/disk/slot_allocator.hpp"
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
        bool empty = false;  // drop what the files hold
    };
    static Result<std::unique_ptr<Slots>> open(store::Storage& storage, const Options& options);
    ~Slots();

    std::optional<std::uint32_t> take();
    void release(std::uint32_t slot);
    bool mark_taken(std::uint32_t slot);
    SlotPlace place(std::uint32_t slot) const;

    // Reads or writes a whole slot, blocking; for replay.
    Result<> read(std::uint32_t slot, std::uint8_t* data) const;
    Result<> write(std::uint32_t slot, std::uint8_t* data);

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
    Result<> open_file(File& file, const std::filesystem::path& path);
    bool grow(File& file, std::uint64_t needed_bytes, std::uint64_t step, std::uint64_t reserve,
              const std::filesystem::path& folder);
    std::uint64_t disk_step() const;

    store::Storage& storage_;
    const Options options_;
    const std::uint32_t ram_slots_;
    File ram_, disk_;
    SlotAllocator ram_free_, disk_free_;
    std::uint64_t spare_bytes_ = ~std::uint64_t{0};
};

}  // namespace goldlink::disk
