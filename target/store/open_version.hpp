// OpenVersion: a version made ready for reading: chunk -> location in parts of an array, of which
// those of zeros alone are not there. Which parts are never changes.
// Holds its packs open. Which of its chunks are bad changes under its readers, which take no lock:
// a location is set after the pack that it needs. Threads: any; change() by one at a time.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <unordered_set>
#include <vector>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"

namespace goldlink::store {

class OpenVersion final : public Version {
  public:
    static Result<std::shared_ptr<OpenVersion>> make(ChunkStore& store, const Digest& digest,
                                                     const Manifest& manifest);

    const std::string& digest() const override { return digest_; }
    std::uint64_t size_bytes() const override { return size_bytes_; }
    ChunkLocation location(std::uint64_t chunk_index) const override;
    int pack_fd(ChunkLocation location) const override;
    const std::uint8_t* resident(ChunkLocation location,
                                 std::uint32_t bytes) const noexcept override;

    // Bad from now on, or good again: `locations` as they are without the bad bit.
    void change(const std::unordered_set<ChunkLocation>& locations, bool bad, Packs& packs);

  private:
    using PackTable = std::vector<std::shared_ptr<const PackFile>>;  // by number; null: not used

    OpenVersion() = default;
    // A pack of `table` that is not open yet; false when it cannot be.
    static bool open_pack(PackTable& table, ChunkLocation location, Packs& packs);
    void publish(PackTable table);

    std::string digest_;
    std::uint64_t size_bytes_ = 0;
    std::uint64_t chunk_count_ = 0;
    static constexpr std::size_t kPartChunks = 4096;  // 32 KiB
    using Part = std::array<std::atomic<ChunkLocation>, kPartChunks>;
    std::vector<std::unique_ptr<Part>> locations_;  // null: zeros
    std::atomic<const PackTable*> packs_{nullptr};
    std::vector<std::unique_ptr<const PackTable>> tables_;  // the last one is in use
};

}  // namespace goldlink::store
