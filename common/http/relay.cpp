#include "common/http/relay.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace goldlink::http {
namespace {

using ErrorCode = boost::system::error_code;

constexpr std::size_t kCopyStepBytes = 256 * 1024;

}  // namespace

void Relay::open_pipe() {
    tried_ = true;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
    read_end_ = FileDescriptor(ends[0]);
    write_end_ = FileDescriptor(ends[1]);
    // A smaller pipe does as well, in more steps.
    (void)::fcntl(write_end_.get(), F_SETPIPE_SZ, static_cast<int>(kRelayStepBytes));
}

std::size_t Relay::move(SocketStream& from, SocketStream& to, std::uint64_t at_most,
                        ErrorCode& from_error, ErrorCode& to_error) {
    if (!tried_) open_pipe();
    if (!write_end_) return copy(from, to, at_most, from_error, to_error);
    to_error = {};
    const std::size_t taken = from.splice_to(
        write_end_.get(), std::min<std::uint64_t>(at_most, kRelayStepBytes), from_error);
    for (std::size_t left = taken; left > 0 && !to_error;)
        left -= to.splice_from(read_end_.get(), left, to_error);
    if (to_error) {  // what is left in the pipe belongs nowhere
        read_end_.reset();
        write_end_.reset();
    }
    return taken;
}

std::size_t Relay::copy(SocketStream& from, SocketStream& to, std::uint64_t at_most,
                        ErrorCode& from_error, ErrorCode& to_error) {
    buffer_.resize(kCopyStepBytes);
    to_error = {};
    const std::size_t n = from.read_some(
        boost::asio::buffer(buffer_.data(), std::min<std::uint64_t>(at_most, buffer_.size())),
        from_error);
    if (n > 0) to.write_all({buffer_.data(), n}, "", "", to_error);
    return n;
}

}  // namespace goldlink::http
