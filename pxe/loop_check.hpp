// LoopCheck: whether the event loop of a thread still turns. The loop watches descriptor() for
// input and calls answer() when there is some; who asks waits for that.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "common/file.hpp"
#include "common/result.hpp"

namespace goldlink::pxe {

class LoopCheck {
  public:
    static Result<> make(LoopCheck& check);

    int descriptor() const { return wake_.get(); }
    void answer();  // of the loop's thread
    // True once the loop has answered a question put after this call began. Threads: any.
    bool turns(std::chrono::milliseconds limit);

  private:
    FileDescriptor wake_;
    std::mutex mutex_;
    std::condition_variable answered_one_;
    std::uint64_t asked_ = 0;
    std::uint64_t answered_ = 0;
};

}  // namespace goldlink::pxe
