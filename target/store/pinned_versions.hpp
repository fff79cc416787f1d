// PinnedVersions: versions whose chunks stay in locked memory ("RAM disk" of the trade), as far as
// its budget goes: a read of them never waits for a disk, whatever else is read. Chunks that pinned
// versions share are there once.
//
// Threads: apply() by one at a time; report() from any. What apply() did ends with the process.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "target/store/image_store.hpp"
#include "target/store/packs.hpp"

namespace goldlink::store {

class PinnedVersions {
  public:
    explicit PinnedVersions(Packs& packs) : packs_(packs) {}

    // Lets go what no `wish` names and reads the rest in, in their order: of each version first the
    // chunks it names, then the others. Stops where the budget ends, and with `cancelled`.
    Result<> apply(ImageStore& store, const std::vector<PinWish>& wishes, Progress& progress);
    std::vector<PinnedVersion> report() const;

  private:
    void tell(std::vector<PinnedVersion> report);

    Packs& packs_;
    std::vector<ChunkLocation> pinned_;  // ascending

    mutable std::mutex mutex_;  // guards report_
    std::vector<PinnedVersion> report_;
};

}  // namespace goldlink::store
