// CHECK(condition, message): states what our own code guarantees. A failure is a bug of ours, never
// something a peer, a disk or a user can cause; it prints the message and aborts.
#pragma once

namespace goldlink {

[[noreturn]] void check_failed(const char* condition, const char* message, const char* file,
                               int line) noexcept;

}  // namespace goldlink

#define CHECK(condition, message)                      \
    (__builtin_expect(static_cast<bool>(condition), 1) \
         ? static_cast<void>(0)                        \
         : ::goldlink::check_failed(#condition, message, __FILE__, __LINE__))
