// What repeats a call that may be made twice, when a lost connection or a server that is away for a
// moment kept it from being done.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/result.hpp"

namespace goldlink::cli {

inline constexpr std::chrono::milliseconds kLongestPause{8000};

// The first pause, doubled from there on; tests give a shorter one.
std::chrono::milliseconds first_pause();

// Whether the same call may succeed a moment later.
inline bool may_pass(const Error& error) {
    return error.kind == ErrorKind::unavailable || error.kind == ErrorKind::timeout;
}

template <typename Work>
auto patiently(Work work) -> decltype(work()) {
    constexpr int kMaxTries = 8;
    auto pause = first_pause();
    for (int tries = 1;; ++tries) {
        auto result = work();
        if (result || tries >= kMaxTries || !may_pass(result.error())) return result;
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, kLongestPause);
    }
}

}  // namespace goldlink::cli
