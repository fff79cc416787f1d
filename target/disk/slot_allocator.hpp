// SlotAllocator: which slots of a slots file are free. Pure. Hands out ascending slots as far as it
// can, so that scattered client writes become sequential ones.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace goldlink::disk {

class SlotAllocator {
  public:
    explicit SlotAllocator(std::uint32_t limit) : limit_(limit) {}

    std::optional<std::uint32_t> take();
    void release(std::uint32_t slot);     // it was taken
    bool mark_taken(std::uint32_t slot);  // replay; false: it is taken already, or past the limit
    bool is_taken(std::uint32_t slot) const;

    std::uint32_t taken() const { return top_ - free_count_; }
    // A bit a slot, of those below top().
    std::vector<std::uint64_t> taken_bits() const;
    std::uint32_t top() const { return top_; }  // no slot at or above was ever handed out
    // No slot at or above will be handed out that was not before.
    void lower_limit(std::uint32_t limit) { limit_ = limit < top_ ? top_ : limit; }

  private:
    std::vector<std::uint64_t> free_bits_;  // of slots below top_
    std::uint32_t limit_;
    std::uint32_t top_ = 0;
    std::uint32_t free_count_ = 0;
    std::size_t cursor_ = 0;  // the word where the search goes on
};

}  // namespace goldlink::disk
