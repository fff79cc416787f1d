// BufferPool: data buffers of one reactor, in power-of-two sizes, last in first out so that a busy
// reactor keeps working in cache-warm memory. One thread. Bounded twice: what may be out at once
// (take() then says null and the command is answered BUSY) and what is kept for later.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace goldlink::iscsi {

struct Buffer {
    std::uint8_t* data = nullptr;
    std::size_t capacity_bytes = 0;

    explicit operator bool() const { return data != nullptr; }
};

class BufferPool {
  public:
    static constexpr std::size_t kAlignmentBytes = 4096;
    static constexpr std::size_t kMaxBufferBytes = 64U << 20;

    explicit BufferPool(std::size_t max_out_bytes = 1U << 30,
                        std::size_t max_kept_bytes = 32U << 20)
        : max_out_bytes_(max_out_bytes), max_kept_bytes_(max_kept_bytes) {}
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    // At least `bytes` of room, contents undefined; null when over budget or out of memory.
    Buffer take(std::size_t bytes);
    void give(Buffer buffer);

    void set_max_out_bytes(std::size_t bytes) { max_out_bytes_ = bytes; }
    std::size_t out_bytes() const { return out_bytes_; }
    std::size_t kept_bytes() const { return kept_bytes_; }

  private:
    static constexpr unsigned kSmallestShift = 12;
    static constexpr unsigned kClasses = 15;  // 4 KiB to 64 MiB

    struct Free {
        Free* next;
    };

    std::array<Free*, kClasses> free_{};
    std::size_t out_bytes_ = 0;
    std::size_t kept_bytes_ = 0;
    std::size_t max_out_bytes_;
    std::size_t max_kept_bytes_;
};

}  // namespace goldlink::iscsi
