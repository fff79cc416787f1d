// ProgressWatch: tells a slow peer from a stuck one. While something waits for the peer, it must
// move kLeastBytes in each span of the timeout; a byte a second is as good as nothing. Pure, one
// thread; looked at with each tick.
#pragma once

#include <cstdint>

namespace goldlink::iscsi {

class ProgressWatch {
  public:
    // 16 KiB in the default 30 s: a hundredth of what the slowest link of the field carries.
    static constexpr std::uint64_t kLeastBytes = 16 * 1024;

    // `waiting`: there is something that the peer should take or finish. `total_bytes`: moved since
    // the connection began. True: it had the whole timeout and did not.
    bool stuck(std::uint64_t now_ms, bool waiting, std::uint64_t total_bytes,
               std::uint64_t timeout_ms) {
        if (!waiting || !waited_ || total_bytes - mark_bytes_ >= kLeastBytes) {
            waited_ = waiting;
            since_ms_ = now_ms;
            mark_bytes_ = total_bytes;
            return false;
        }
        return now_ms - since_ms_ >= timeout_ms;
    }

  private:
    bool waited_ = false;
    std::uint64_t since_ms_ = 0;
    std::uint64_t mark_bytes_ = 0;
};

}  // namespace goldlink::iscsi
