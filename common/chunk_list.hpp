// ChunkList: the digests of a disk's chunks, in order. Kept in parts; one whose chunks are all
// zeros takes no memory, so a disk of holes costs next to nothing: 8 bytes for 128 MiB of it.
// Threads: one at a time while it changes, then any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/digest.hpp"

namespace goldlink {

class ChunkList {
  public:
    static constexpr std::size_t kPartChunks = 2048;  // 64 KiB of digests

    ChunkList() = default;
    ChunkList(const ChunkList& other);
    ChunkList(ChunkList&&) = default;
    ChunkList& operator=(const ChunkList& other);
    ChunkList& operator=(ChunkList&&) = default;
    bool operator==(const ChunkList& other) const;

    std::size_t size() const { return size_; }
    void resize(std::size_t size);  // chunks that are new are zeros
    const Digest& operator[](std::size_t chunk) const;
    void set(std::size_t chunk, const Digest& digest);
    void push_back(const Digest& digest);

    // The list as bytes, 32 a chunk: those from `offset` on, all within it.
    void read_bytes(std::size_t offset, std::span<std::uint8_t> into) const;
    void write_bytes(std::size_t offset, Bytes bytes);

    std::size_t part_count() const { return parts_.size(); }
    // The bytes of a part, shorter at the end; empty: all its chunks are zeros.
    Bytes part_bytes(std::size_t part) const;
    std::size_t chunks_in_part(std::size_t part) const;
    // The first chunk at or after `chunk` whose part has some that are no zeros; size(): none has.
    std::size_t skip_zeros(std::size_t chunk) const;

    class Iterator {
      public:
        Iterator(const ChunkList& list, std::size_t at) : list_(&list), at_(at) {}
        const Digest& operator*() const { return (*list_)[at_]; }
        Iterator& operator++() {
            ++at_;
            return *this;
        }
        bool operator!=(const Iterator& other) const { return at_ != other.at_; }

      private:
        const ChunkList* list_;
        std::size_t at_;
    };
    Iterator begin() const { return {*this, 0}; }
    Iterator end() const { return {*this, size_}; }

  private:
    using Part = std::array<Digest, kPartChunks>;

    std::size_t size_ = 0;
    std::vector<std::unique_ptr<Part>> parts_;  // null: zeros
};

}  // namespace goldlink
