// A filter of system calls (seccomp), for a process that reads what nobody vouches for. It stays
// for good and is inherited. Async-signal-safe: also between fork and exec. Needs no_new_privs.
#pragma once

#include <cstddef>
#include <span>

namespace goldlink {

inline constexpr std::size_t kMaxFilteredCalls = 200;

// The calls of the list are the only ones that work, or those that do not: these fail with EPERM.
// A call by another architecture's numbers kills the process. False when there is no filter now.
enum class Calls { only_these, all_but_these };
bool filter_system_calls(Calls which, std::span<const int> calls) noexcept;

}  // namespace goldlink
