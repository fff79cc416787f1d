// A version for tests: chunks of 64 KiB in one file, in their order, those of zeros left out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "target/store/image_store.hpp"

namespace goldlink::disk::test {

class ChunkedVersion : public store::Version {
  public:
    using Put = std::function<void(std::uint64_t offset, const std::vector<std::uint8_t>& chunk)>;

    // `put` writes a chunk to the file behind `fd`.
    ChunkedVersion(int fd, const std::vector<std::uint8_t>& disk, const Put& put,
                   char digest_letter = 'a')
        : digest_(64, digest_letter), size_bytes_(disk.size()), fd_(fd) {
        std::uint32_t slot = 0;
        for (std::size_t at = 0; at < disk.size(); at += store::kChunkBytes) {
            std::vector<std::uint8_t> chunk(store::kChunkBytes);
            const auto length = std::min<std::size_t>(chunk.size(), disk.size() - at);
            std::copy_n(disk.begin() + static_cast<std::ptrdiff_t>(at), length, chunk.begin());
            if (std::all_of(chunk.begin(), chunk.end(), [](auto byte) { return byte == 0; })) {
                locations_.push_back(store::kZeroChunk);
                continue;
            }
            put(std::uint64_t{slot} * store::kChunkBytes, chunk);
            locations_.push_back(slot++);
            memory_.push_back(std::move(chunk));
        }
    }
    const std::string& digest() const override { return digest_; }
    std::uint64_t size_bytes() const override { return size_bytes_; }
    store::ChunkLocation location(std::uint64_t chunk) const override { return locations_[chunk]; }
    int pack_fd(store::ChunkLocation) const override { return fd_; }
    void set_bad(std::uint64_t chunk, bool bad) {
        locations_[chunk] = bad ? locations_[chunk] | store::kBadChunkBit
                                : locations_[chunk] & ~store::kBadChunkBit;
    }

  protected:
    const std::uint8_t* chunk_in_memory(store::ChunkLocation location) const noexcept {
        return memory_[location].data();
    }

  private:
    std::string digest_;
    std::uint64_t size_bytes_;
    std::vector<store::ChunkLocation> locations_;
    std::vector<std::vector<std::uint8_t>> memory_;  // by slot
    int fd_;
};

}  // namespace goldlink::disk::test
