// OpenVersion: a version made ready for reading: chunk -> location in one flat array.
// Immutable after make(); holds its packs open. Threads: any.
#pragma once

#include "target/store/chunk_store.hpp"
#include "target/store/manifest.hpp"

namespace goldlink::store {

class OpenVersion final : public Version {
  public:
    static Result<std::shared_ptr<const OpenVersion>> make(ChunkStore& store, const Digest& digest,
                                                           const Manifest& manifest);

    const std::string& digest() const override { return digest_; }
    std::uint64_t size_bytes() const override { return size_bytes_; }
    ChunkLocation location(std::uint64_t chunk_index) const override;
    int pack_fd(ChunkLocation location) const override;
    const std::uint8_t* resident(ChunkLocation location,
                                 std::uint32_t bytes) const noexcept override;

  private:
    OpenVersion() = default;

    std::string digest_;
    std::uint64_t size_bytes_ = 0;
    std::vector<ChunkLocation> locations_;
    std::vector<std::shared_ptr<const PackFile>> packs_;  // by pack number; null: not used
};

}  // namespace goldlink::store
