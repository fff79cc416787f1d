// A version whose chunks are in a simulated file, all of it durable. It lends two chunks of three,
// of those now one and now the other.
#pragma once

#include <memory>
#include <vector>

#include "tests/sim/sim_storage.hpp"
#include "tests/unit/disk/chunked_version.hpp"

namespace goldlink::sim {

class SimVersion final : public disk::test::ChunkedVersion {
  public:
    SimVersion(SimStorage& storage, const std::vector<std::uint8_t>& disk,
               const char* pack = "/pack", char digest_letter = 'a')
        : SimVersion(storage, storage.open(pack, true), disk, digest_letter) {}
    const std::uint8_t* resident(store::ChunkLocation location,
                                 std::uint32_t) const noexcept override {
        return (location + uses_++ / 16) % 3 == 0 ? nullptr : chunk_in_memory(location);
    }

  private:
    SimVersion(SimStorage& storage, int fd, const std::vector<std::uint8_t>& disk,
               char digest_letter)
        : ChunkedVersion(
              fd, disk,
              [&](std::uint64_t offset, const std::vector<std::uint8_t>& chunk) {
                  storage.file(fd)->write(offset, chunk.data(), chunk.size());
              },
              digest_letter) {
        storage.file(fd)->sync(true);
    }

    mutable std::uint64_t uses_ = 0;
};

}  // namespace goldlink::sim
