// Packs: the files that hold chunks, in fixed slots of 64 KiB with nothing between them. A slot is
// named by its number over all packs; pack p holds slots [p * kSlotsPerPack, (p+1) * kSlotsPerPack)
// in the file packs/%08x.pack, sparse, its slots in order from offset 0.
//
// What is free and what is used is the index's business. Threads: any, all calls.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "common/result.hpp"
#include "target/store/image_store.hpp"
#include "target/store/resident_chunks.hpp"
#include "target/store/storage.hpp"

namespace goldlink::store {

inline constexpr std::uint64_t kSlotsPerPack = 65536;  // 4 GiB

inline ChunkLocation location_of_slot(std::uint64_t slot) {
    return (slot / kSlotsPerPack) << 32 | (slot % kSlotsPerPack);
}
inline std::uint64_t slot_of_location(ChunkLocation location) {
    return (location >> 32) * kSlotsPerPack + (location & 0xffffffffu);
}

struct LeftFile {
    std::string name;
    std::uint64_t bytes = 0;  // that it takes
};

// One open pack; closed when the store and every version over it are gone.
struct PackFile {
    explicit PackFile(Storage& of) : storage(of) {}
    PackFile(const PackFile&) = delete;
    PackFile& operator=(const PackFile&) = delete;
    ~PackFile();

    Storage& storage;
    int read = -1;                       // opened to read only: what versions read through
    int write = -1;                      // to read and write
    std::unique_ptr<PackMemory> memory;  // null: its chunks are read through `read` alone
};

class Packs {
  public:
    Packs(Storage& storage, std::filesystem::path folder, std::uint64_t resident_budget_bytes)
        : storage_(storage),
          folder_(std::move(folder)),
          resident_(std::make_shared<ResidentChunks>(resident_budget_bytes)) {}

    ResidentChunks& resident() { return *resident_; }

    // Opens the pack that holds `slot`; makes it when `create`.
    Result<std::shared_ptr<const PackFile>> pack_of_slot(std::uint64_t slot, bool create);
    Result<> write(std::uint64_t slot, const std::uint8_t* chunk);  // kChunkBytes
    Result<> read(std::uint64_t slot, std::uint8_t* chunk);
    // Makes what was written durable.
    Result<> sync(const std::vector<std::uint64_t>& slots);
    // Gives the space of slots [first, first + count) back to the filesystem.
    Result<> punch(std::uint64_t first, std::uint64_t count);
    // How much of slots [first, first + count), all of one pack, takes space; 0 where that cannot
    // be told.
    Result<std::uint64_t> taken_bytes(std::uint64_t first, std::uint64_t count);
    // Drops everything at and after `slot`.
    Result<> truncate_from(std::uint64_t slot);
    // Pack files none of whose slots is below `slot`, in their order.
    Result<std::vector<LeftFile>> files_beyond(std::uint64_t slot);
    // What keeps the pack's first slots from being read, for an admin.
    std::string trouble_with(std::uint64_t pack_number, std::uint64_t slots_needed);
    // Pages of the slot that could not be brought into locked memory are tried again.
    void forget_resident(std::uint64_t slot);
    // ResidentChunks::pin and unpin. False also where nothing can be locked, or the pack be opened.
    bool pin(std::uint64_t slot);
    void unpin(std::uint64_t slot);

  private:
    PackMemory* memory_of(std::uint64_t slot);  // null: none
    Result<std::shared_ptr<const PackFile>> open_pack(std::uint64_t pack_number, bool create);
    std::filesystem::path path_of(std::uint64_t pack_number) const;
    Result<std::vector<std::string>> file_names();

    Storage& storage_;
    const std::filesystem::path folder_;
    const std::shared_ptr<ResidentChunks> resident_;
    std::mutex mutex_;
    struct OpenPack {
        std::shared_ptr<const PackFile> pack;  // null: not yet opened
        bool name_synced = false;
    };
    std::vector<OpenPack> open_;  // by pack number
};

}  // namespace goldlink::store
