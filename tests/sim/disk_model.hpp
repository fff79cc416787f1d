// What a disk must read as: for each 4 KiB block the states it went through, as far back as a power
// loss may take it. A state is a set of possible contents: more than one after a write that failed
// or that nobody heard of any more.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace goldlink::sim {

class DiskModel {
  public:
    static constexpr std::uint64_t kBlock = 4096;

    explicit DiskModel(const std::vector<std::uint8_t>& base);

    std::uint64_t now() const { return clock_; }
    std::uint64_t size() const { return size_; }

    enum class Certainty : std::uint8_t {
        done,   // it ended well
        maybe,  // each block was written or not
        torn,   // it failed: its blocks hold anything, until they are read
    };
    // `data` null: zeros.
    void wrote(std::uint64_t offset, std::uint64_t length, const std::uint8_t* data,
               Certainty certainty);
    // A flush that was asked for at time `asked` ended well: what the range's blocks were then, or
    // became since, is all they can be after a power loss.
    void flushed(std::uint64_t asked) { flushed(asked, 0, size_); }
    void flushed(std::uint64_t asked, std::uint64_t offset, std::uint64_t length);
    // Storage failed to make something durable: any state since the last flush, and a later power
    // loss may take it to any of them still.
    void shaken();
    // A power loss: any state since the last flush. `to_base`: everything is gone.
    void lost_power(bool to_base);

    // "" when `data` is what the range may read as, else what is wrong. A block that could be one
    // of several is from now on what it was read as.
    std::string check(std::uint64_t offset, std::uint64_t length, const std::uint8_t* data);

  private:
    struct State {
        std::uint64_t time;
        std::set<std::string> contents;
        bool anything = false;
    };
    State any_since_flush(std::size_t block) const;
    std::uint64_t size_;
    std::uint64_t clock_ = 0;
    std::vector<std::string> base_;
    std::vector<std::vector<State>> blocks_;  // the oldest first
};

}  // namespace goldlink::sim
