// Result<T>: what every function returns that a peer, a disk or a user can make fail.
//
// An Error has a kind that callers match on, a message for the admin (what failed, on what, why,
// what to do) and, where the system refused, its errno. It is logged once, where it is handled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace goldlink {

enum class ErrorKind : std::uint8_t {
    invalid,      // the input is malformed or out of range; repeating it cannot help
    not_found,    // what was named does not exist
    conflict,     // it exists already, or is in use, or was changed meanwhile
    denied,       // credentials or permissions do not allow it
    exhausted,    // space, quota, or a stated limit is used up
    corrupt,      // stored data contradicts its checksum or format
    unavailable,  // a service or peer does not answer now; repeating may help
    timeout,      // it took longer than its bound
    io,           // the operating system refused; see errno_value
    cancelled,    // stopped on request
};

// The kind's name as it appears in JSON, for example "not_found".
std::string_view to_string(ErrorKind kind);

struct Error {
    ErrorKind kind = ErrorKind::io;
    std::string message;
    int errno_value = 0;  // 0: no system call was involved

    // The same error, its message led by what was being done: "opening pack 3: No such file".
    Error with_context(std::string_view context) &&;
};

template <typename T = void>
using Result = tl::expected<T, Error>;
using Failure = tl::unexpected<Error>;

// An error to return: `return failure(ErrorKind::not_found, "no image named win11")`.
Failure failure(ErrorKind kind, std::string message);

// An error from errno after a failed system call; reads errno at once and appends its text. Maps
// ENOENT to not_found, EACCES and EPERM to denied, ENOSPC, EDQUOT and ENOMEM to exhausted.
Failure system_failure(std::string_view what);
Failure system_failure(std::string_view what, int errno_value);

}  // namespace goldlink

// Propagates the error of a Result expression: GOLDLINK_TRY(open_pack(id));
#define GOLDLINK_TRY(expression)                                                \
    do {                                                                        \
        if (auto goldlink_try_result = (expression); !goldlink_try_result)      \
            return ::goldlink::Failure(std::move(goldlink_try_result).error()); \
    } while (false)

#define GOLDLINK_TRY_JOIN_(a, b) a##b
#define GOLDLINK_TRY_JOIN(a, b) GOLDLINK_TRY_JOIN_(a, b)
// Declares a variable from a Result expression or propagates its error:
//   GOLDLINK_TRY_ASSIGN(auto pack, open_pack(id));
#define GOLDLINK_TRY_ASSIGN(declaration, expression)                           \
    auto GOLDLINK_TRY_JOIN(goldlink_result_, __LINE__) = (expression);         \
    if (!GOLDLINK_TRY_JOIN(goldlink_result_, __LINE__))                        \
        return ::goldlink::Failure(                                            \
            std::move(GOLDLINK_TRY_JOIN(goldlink_result_, __LINE__)).error()); \
    declaration = std::move(*GOLDLINK_TRY_JOIN(goldlink_result_, __LINE__))
