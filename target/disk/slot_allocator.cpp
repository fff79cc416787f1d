#include "target/disk/slot_allocator.hpp"

#include <bit>

#include "common/check.hpp"

namespace goldlink::disk {

namespace {
constexpr std::uint64_t bit_of(std::uint32_t slot) { return std::uint64_t{1} << (slot % 64); }
}  // namespace

std::optional<std::uint32_t> SlotAllocator::take() {
    if (free_count_ == 0) {
        if (top_ >= limit_) return std::nullopt;
        if (top_ % 64 == 0) free_bits_.push_back(0);
        return top_++;
    }
    while (free_bits_[cursor_] == 0) cursor_ = cursor_ + 1 < free_bits_.size() ? cursor_ + 1 : 0;
    const auto slot = static_cast<std::uint32_t>(
        cursor_ * 64 + static_cast<unsigned>(std::countr_zero(free_bits_[cursor_])));
    free_bits_[cursor_] &= ~bit_of(slot);
    --free_count_;
    return slot;
}

void SlotAllocator::release(std::uint32_t slot) {
    CHECK(is_taken(slot), "a slot is released that is not taken");
    free_bits_[slot / 64] |= bit_of(slot);
    ++free_count_;
}

bool SlotAllocator::mark_taken(std::uint32_t slot) {
    if (slot >= limit_) return false;
    while (top_ <= slot) {
        if (top_ % 64 == 0) free_bits_.push_back(0);
        free_bits_[top_ / 64] |= bit_of(top_);
        ++top_;
        ++free_count_;
    }
    if (is_taken(slot)) return false;
    free_bits_[slot / 64] &= ~bit_of(slot);
    --free_count_;
    return true;
}

std::vector<std::uint64_t> SlotAllocator::taken_bits() const {
    std::vector<std::uint64_t> bits = free_bits_;
    for (std::uint64_t& word : bits) word = ~word;
    if (top_ % 64 != 0) bits.back() &= bit_of(top_) - 1;
    return bits;
}

bool SlotAllocator::is_taken(std::uint32_t slot) const {
    return slot < top_ && (free_bits_[slot / 64] & bit_of(slot)) == 0;
}

}  // namespace goldlink::disk
