// ReadTrace: which chunks of a version a client reads, in the order in which it reads them first:
// what its boot needs. Pure. note() is called by one disk on its reactor and allocates nothing;
// the rest when that disk has let go of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "target/store/image_store.hpp"

namespace goldlink::disk {

class ReadTrace {
  public:
    static constexpr std::size_t kMaxChunks = 65536;  // 4 GiB; what comes later is no boot any more

    explicit ReadTrace(std::uint64_t size_bytes)
        : seen_((size_bytes + store::kChunkBytes - 1) / store::kChunkBytes) {
        order_.reserve(std::min(kMaxChunks, seen_.size()));
    }

    // A read that lies within the disk.
    void note(std::uint64_t offset_bytes, std::uint64_t length_bytes) noexcept {
        const std::uint64_t end = offset_bytes + length_bytes;
        for (std::uint64_t chunk = offset_bytes / store::kChunkBytes;
             chunk * store::kChunkBytes < end; ++chunk) {
            if (seen_[chunk] || order_.size() == kMaxChunks) continue;
            seen_[chunk] = true;
            order_.push_back(static_cast<std::uint32_t>(chunk));
        }
    }

    const std::vector<std::uint32_t>& chunks() const { return order_; }

  private:
    std::vector<bool> seen_;
    std::vector<std::uint32_t> order_;
};

}  // namespace goldlink::disk
