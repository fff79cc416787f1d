#include "pxe/loop_check.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

namespace goldlink::pxe {

Result<> LoopCheck::make(LoopCheck& check) {
    check.wake_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!check.wake_) return system_failure("cannot make an eventfd");
    return {};
}

void LoopCheck::answer() {
    std::uint64_t count = 0;
    // Nothing to read (EAGAIN) is as good: all questions so far are answered by this turn.
    [[maybe_unused]] const auto n = ::read(wake_.get(), &count, sizeof count);
    {
        const std::lock_guard lock(mutex_);
        answered_ = asked_;
    }
    answered_one_.notify_all();
}

bool LoopCheck::turns(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    const std::uint64_t mine = ++asked_;
    const std::uint64_t one = 1;
    // It fails only while the counter is at its end, and then the descriptor is readable anyway.
    [[maybe_unused]] const auto n = ::write(wake_.get(), &one, sizeof one);
    return answered_one_.wait_for(lock, limit, [&] { return answered_ >= mine; });
}

}  // namespace goldlink::pxe
