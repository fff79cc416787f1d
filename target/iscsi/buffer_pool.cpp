#include "target/iscsi/buffer_pool.hpp"

#include <bit>
#include <cstdlib>
#include <new>

#include "common/check.hpp"

namespace goldlink::iscsi {

namespace {

std::size_t class_of(std::size_t bytes, unsigned smallest_shift) {
    const std::size_t rounded = std::bit_ceil(bytes);
    const auto shift = static_cast<unsigned>(std::countr_zero(rounded));
    return shift <= smallest_shift ? 0 : shift - smallest_shift;
}

}  // namespace

BufferPool::~BufferPool() {
    CHECK(out_bytes_ == 0, "a buffer outlives its pool");
    for (Free* head : free_) {
        while (head != nullptr) {
            Free* next = head->next;
            std::free(head);
            head = next;
        }
    }
}

Buffer BufferPool::take(std::size_t bytes) {
    if (bytes == 0) bytes = 1;
    if (bytes > kMaxBufferBytes) return {};
    const std::size_t index = class_of(bytes, kSmallestShift);
    const std::size_t capacity = std::size_t{1} << (kSmallestShift + index);
    if (out_bytes_ + capacity > max_out_bytes_) return {};
    std::uint8_t* data = nullptr;
    if (Free* head = free_[index]; head != nullptr) {
        free_[index] = head->next;
        kept_bytes_ -= capacity;
        data = reinterpret_cast<std::uint8_t*>(head);
    } else {
        data = static_cast<std::uint8_t*>(std::aligned_alloc(kAlignmentBytes, capacity));
        if (data == nullptr) return {};
    }
    out_bytes_ += capacity;
    return {data, capacity};
}

void BufferPool::give(Buffer buffer) {
    if (!buffer) return;
    out_bytes_ -= buffer.capacity_bytes;
    if (kept_bytes_ + buffer.capacity_bytes > max_kept_bytes_) {
        std::free(buffer.data);
        return;
    }
    const std::size_t index = class_of(buffer.capacity_bytes, kSmallestShift);
    free_[index] = new (buffer.data) Free{free_[index]};
    kept_bytes_ += buffer.capacity_bytes;
}

}  // namespace goldlink::iscsi
