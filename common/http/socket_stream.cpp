#include "common/http/socket_stream.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace goldlink::http {
namespace {

boost::system::error_code last_error() { return {errno, boost::system::system_category()}; }

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

void SocketStream::shut_down() {
    if (fd_) ::shutdown(fd_.get(), SHUT_RDWR);
}

void SocketStream::shut_down_send() {
    if (fd_) ::shutdown(fd_.get(), SHUT_WR);
}

SocketStream& SocketStream::operator=(SocketStream&& other) noexcept {
    fd_ = std::move(other.fd_);
    step_timeout_ = other.step_timeout_;
    deadline_ = other.deadline_;
    interrupt_fd_ = other.interrupt_fd_;
    return *this;
}

void SocketStream::wait(bool for_read, boost::system::error_code& error) {
    waits_since_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    wait_on(for_read, error);
    waits_since_.store(0, std::memory_order_relaxed);
}

void SocketStream::wait_on(bool for_read, boost::system::error_code& error) {
    auto end = Clock::now() + step_timeout_;
    if (deadline_ && *deadline_ < end) end = *deadline_;
    std::array<pollfd, 2> polled{};
    polled[0].fd = fd_.get();
    polled[0].events = for_read ? POLLIN : POLLOUT;
    polled[1].fd = interrupt_fd_;
    polled[1].events = POLLIN;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
        const int timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
        const int n = ::poll(polled.data(), polled.size(), timeout);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            error = last_error();
        } else if (polled[0].revents != 0) {
            error = {};
        } else if (polled[1].revents != 0) {
            error = boost::asio::error::operation_aborted;
        } else if (timeout == 0) {
            error = boost::asio::error::timed_out;
        } else {
            continue;
        }
        return;
    }
}

// `call` until it does not wait any more; what it gave, or -1 with `error`.
template <typename Call>
ssize_t SocketStream::when_ready(bool for_read, boost::system::error_code& error, Call call) {
    error = {};
    for (;;) {
        const ssize_t n = call();
        if (n >= 0) return n;
        if (errno == EINTR) continue;
        if (!would_block(errno)) {
            error = last_error();
            return -1;
        }
        wait(for_read, error);
        if (error) return -1;
    }
}

std::size_t SocketStream::receive(void* data, std::size_t size, boost::system::error_code& error) {
    const ssize_t n = when_ready(true, error, [&] { return ::recv(fd_.get(), data, size, 0); });
    if (n == 0) error = boost::asio::error::eof;
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

std::size_t SocketStream::send(const void* data, std::size_t size,
                               boost::system::error_code& error) {
    const ssize_t n =
        when_ready(false, error, [&] { return ::send(fd_.get(), data, size, MSG_NOSIGNAL); });
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void SocketStream::write_all(std::string_view first, std::string_view second,
                             std::string_view third, boost::system::error_code& error) {
    std::array<std::string_view, 3> parts{first, second, third};
    error = {};
    for (;;) {
        std::array<iovec, 3> vectors{};
        std::size_t count = 0;
        for (const std::string_view part : parts)
            if (!part.empty()) vectors[count++] = {const_cast<char*>(part.data()), part.size()};
        if (count == 0) return;
        msghdr message{};
        message.msg_iov = vectors.data();
        message.msg_iovlen = count;
        const ssize_t n =
            when_ready(false, error, [&] { return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL); });
        if (error) return;
        std::size_t sent = static_cast<std::size_t>(n);
        for (std::string_view& part : parts) {
            const std::size_t of_this = std::min(sent, part.size());
            part.remove_prefix(of_this);
            sent -= of_this;
        }
    }
}

void SocketStream::send_file(int file, std::uint64_t offset_bytes, std::uint64_t count,
                             boost::system::error_code& error) {
    error = {};
    auto offset = static_cast<off_t>(offset_bytes);
    while (count > 0) {
        constexpr std::uint64_t kStepBytes = 1 << 20;
        const auto step = static_cast<std::size_t>(std::min(count, kStepBytes));
        const ssize_t n =
            when_ready(false, error, [&] { return ::sendfile(fd_.get(), file, &offset, step); });
        if (n == 0) error = boost::asio::error::eof;
        if (error) return;
        count -= static_cast<std::uint64_t>(n);
    }
}

std::size_t SocketStream::splice_to(int pipe, std::size_t count, boost::system::error_code& error) {
    const ssize_t n = when_ready(true, error, [&] {
        return ::splice(fd_.get(), nullptr, pipe, nullptr, count,
                        SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (n == 0) error = boost::asio::error::eof;
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

std::size_t SocketStream::splice_from(int pipe, std::size_t count,
                                      boost::system::error_code& error) {
    const ssize_t n = when_ready(false, error, [&] {
        return ::splice(pipe, nullptr, fd_.get(), nullptr, count,
                        SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

bool SocketStream::readable() const {
    pollfd polled{fd_.get(), POLLIN, 0};
    return ::poll(&polled, 1, 0) > 0;
}

bool SocketStream::peer_gone() const {
    char byte = 0;
    const ssize_t n = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && !would_block(errno) && errno != EINTR);
}

}  // namespace goldlink::http
