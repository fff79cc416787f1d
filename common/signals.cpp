#include "common/signals.hpp"

#include <pthread.h>
#include <signal.h>

#include <cerrno>

namespace goldlink {
namespace {

sigset_t termination_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGINT);
    ::sigaddset(&set, SIGTERM);
    return set;
}

}  // namespace

void block_termination_signals() {
    const sigset_t set = termination_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
}

int wait_for_termination() {
    const sigset_t set = termination_signals();
    for (;;) {
        const int signal = ::sigwaitinfo(&set, nullptr);
        if (signal > 0) return signal;
    }
}

std::optional<int> wait_for_termination(std::chrono::milliseconds timeout) {
    const sigset_t set = termination_signals();
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
            end - std::chrono::steady_clock::now());
        if (left.count() < 0) left = std::chrono::nanoseconds(0);
        const timespec wait{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
        const int signal = ::sigtimedwait(&set, nullptr, &wait);
        if (signal > 0) return signal;
        if (errno == EAGAIN) return std::nullopt;
    }
}

}  // namespace goldlink
