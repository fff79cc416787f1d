// How a daemon's main waits to be told to stop: SIGINT and SIGTERM are blocked in every thread and
// taken with sigtimedwait, so no handler ever runs. SIGPIPE is ignored: writes answer EPIPE.
#pragma once

#include <chrono>
#include <optional>

namespace goldlink {

// First thing in main, before any thread is made (threads inherit the mask).
void block_termination_signals();

// Blocks until SIGINT or SIGTERM and returns its number.
int wait_for_termination();
// The same with a bound; nullopt after it.
std::optional<int> wait_for_termination(std::chrono::milliseconds timeout);

}  // namespace goldlink
