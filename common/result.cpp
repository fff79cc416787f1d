#include "common/result.hpp"

#include <cerrno>
#include <system_error>

namespace goldlink {

std::string_view to_string(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid:
            return "invalid";
        case ErrorKind::not_found:
            return "not_found";
        case ErrorKind::conflict:
            return "conflict";
        case ErrorKind::denied:
            return "denied";
        case ErrorKind::exhausted:
            return "exhausted";
        case ErrorKind::corrupt:
            return "corrupt";
        case ErrorKind::unavailable:
            return "unavailable";
        case ErrorKind::timeout:
            return "timeout";
        case ErrorKind::io:
            return "io";
        case ErrorKind::cancelled:
            return "cancelled";
    }
    return "io";
}

Error Error::with_context(std::string_view context) && {
    message = std::string(context) + ": " + message;
    return std::move(*this);
}

Failure failure(ErrorKind kind, std::string message) {
    return Failure(Error{kind, std::move(message), 0});
}

Failure system_failure(std::string_view what) { return system_failure(what, errno); }

Failure system_failure(std::string_view what, int errno_value) {
    ErrorKind kind = ErrorKind::io;
    switch (errno_value) {
        case ENOENT:
            kind = ErrorKind::not_found;
            break;
        case EACCES:
        case EPERM:
            kind = ErrorKind::denied;
            break;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
            kind = ErrorKind::exhausted;
            break;
        case EEXIST:
            kind = ErrorKind::conflict;
            break;
        case ETIMEDOUT:
            kind = ErrorKind::timeout;
            break;
        default:
            break;
    }
    return Failure(Error{kind,
                         std::string(what) + ": " + std::generic_category().message(errno_value),
                         errno_value});
}

}  // namespace goldlink
