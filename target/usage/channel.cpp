#include "target/usage/channel.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace goldlink::usage {
namespace {
constexpr std::chrono::milliseconds kCancelStep{50};
}

Result<> Channel::wait(short events) {
    for (;;) {
        if (cancel_ != nullptr && *cancel_)
            return failure(ErrorKind::cancelled, "looking into the disk was cancelled");
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
        if (left.count() <= 0) return failure(ErrorKind::timeout, "it took too long");
        pollfd polled{socket_, events, 0};
        const int n = ::poll(&polled, 1, static_cast<int>(std::min(left, kCancelStep).count()));
        if (n > 0) return {};
        if (n < 0 && errno != EINTR) return system_failure("cannot wait for the reader");
    }
}

// The deadline and a cancel count also while the other end is never at a loss for words.
Result<> Channel::read(MutableBytes bytes) {
    while (!bytes.empty()) {
        GOLDLINK_TRY(wait(POLLIN));
        const ssize_t n = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n <= 0) return failure(ErrorKind::unavailable, "the reader ended early");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

Result<> Channel::write(Bytes bytes) {
    while (!bytes.empty()) {
        GOLDLINK_TRY(wait(POLLOUT));
        const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n <= 0) return failure(ErrorKind::unavailable, "the reader ended early");
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace goldlink::usage
