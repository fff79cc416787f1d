// The target's end of the socket to a reader that may hang, die or never stop talking: every wait
// ends at the deadline, or soon after somebody cancels. One thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink::usage {

class Channel {
  public:
    using Clock = std::chrono::steady_clock;
    // `socket` stays the caller's.
    Channel(int socket, Clock::time_point deadline, const std::atomic<bool>* cancel)
        : socket_(socket), deadline_(deadline), cancel_(cancel) {}

    // Whole or an error: timeout, cancelled, or unavailable when the other end is gone.
    Result<> read(MutableBytes bytes);
    Result<> write(Bytes bytes);

  private:
    Result<> wait(short events);

    const int socket_;
    const Clock::time_point deadline_;
    const std::atomic<bool>* const cancel_;
};

}  // namespace goldlink::usage
