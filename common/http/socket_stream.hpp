// SocketStream: an owned non-blocking socket with blocking calls bounded in time, in the shape that
// Beast's synchronous algorithms want (SyncReadStream, SyncWriteStream).
//
// Every wait ends at the first of: progress, `step_timeout` without progress, `deadline`, or a
// readable `interrupt_fd`. Asio's own synchronous calls know none of these. One thread at a time;
// shut_down() may come from any.
#pragma once

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <optional>
#include <string>

#include "common/file.hpp"

namespace goldlink::http {

class SocketStream {
  public:
    using Clock = std::chrono::steady_clock;

    SocketStream() = default;
    explicit SocketStream(FileDescriptor fd) : fd_(std::move(fd)) {}
    SocketStream(SocketStream&& other) noexcept { *this = std::move(other); }
    SocketStream& operator=(SocketStream&& other) noexcept;  // neither is waited on

    int fd() const { return fd_.get(); }
    bool is_open() const { return static_cast<bool>(fd_); }
    void close() { fd_.reset(); }
    void shut_down();       // wakes whoever waits on the socket; it stays open
    void shut_down_send();  // the peer sees the end of what we said

    void set_step_timeout(std::chrono::milliseconds timeout) { step_timeout_ = timeout; }
    void set_deadline(std::optional<Clock::time_point> deadline) { deadline_ = deadline; }
    void set_interrupt_fd(int fd) { interrupt_fd_ = fd; }

    // Errors: timed_out, operation_aborted (interrupt_fd), eof, or what the system said.
    template <typename MutableBuffers>
    std::size_t read_some(const MutableBuffers& buffers, boost::system::error_code& error) {
        for (auto it = boost::asio::buffer_sequence_begin(buffers);
             it != boost::asio::buffer_sequence_end(buffers); ++it) {
            const boost::asio::mutable_buffer one(*it);
            if (one.size() > 0) return receive(one.data(), one.size(), error);
        }
        error = {};
        return 0;
    }
    template <typename MutableBuffers>
    std::size_t read_some(const MutableBuffers& buffers) {
        boost::system::error_code error;
        const std::size_t n = read_some(buffers, error);
        if (error) throw boost::system::system_error(error);
        return n;
    }
    template <typename ConstBuffers>
    std::size_t write_some(const ConstBuffers& buffers, boost::system::error_code& error) {
        for (auto it = boost::asio::buffer_sequence_begin(buffers);
             it != boost::asio::buffer_sequence_end(buffers); ++it) {
            const boost::asio::const_buffer one(*it);
            if (one.size() > 0) return send(one.data(), one.size(), error);
        }
        error = {};
        return 0;
    }
    template <typename ConstBuffers>
    std::size_t write_some(const ConstBuffers& buffers) {
        boost::system::error_code error;
        const std::size_t n = write_some(buffers, error);
        if (error) throw boost::system::system_error(error);
        return n;
    }

    // All of the parts, in order, with as few system calls as the socket allows.
    void write_all(std::string_view first, std::string_view second, std::string_view third,
                   boost::system::error_code& error);
    // `count` bytes of a file from `offset`; error eof when the file is shorter.
    void send_file(int file, std::uint64_t offset_bytes, std::uint64_t count,
                   boost::system::error_code& error);

    // Up to `count` bytes, at least one, into or out of a pipe without a copy. An empty pipe has
    // room for what comes; one that gives must hold `count` bytes. Errors: as read_some.
    std::size_t splice_to(int pipe, std::size_t count, boost::system::error_code& error);
    std::size_t splice_from(int pipe, std::size_t count, boost::system::error_code& error);

    // True when bytes (or the peer's end) are there to read now.
    bool readable() const;
    // True when the peer closed or reset; bytes still unread mean false.
    bool peer_gone() const;

    // Waits until readable, without reading.
    void wait_readable(boost::system::error_code& error) { wait(true, error); }
    // Since when a call waits for the peer, in ticks of the clock; 0: none does. From any thread.
    Clock::rep waits_since() const { return waits_since_.load(std::memory_order_relaxed); }

  private:
    std::size_t receive(void* data, std::size_t size, boost::system::error_code& error);
    std::size_t send(const void* data, std::size_t size, boost::system::error_code& error);
    void wait(bool for_read, boost::system::error_code& error);
    void wait_on(bool for_read, boost::system::error_code& error);
    template <typename Call>
    ssize_t when_ready(bool for_read, boost::system::error_code& error, Call call);

    FileDescriptor fd_;
    std::chrono::milliseconds step_timeout_{30000};
    std::optional<Clock::time_point> deadline_;
    int interrupt_fd_ = -1;
    std::atomic<Clock::rep> waits_since_{0};
};

// Where to listen or connect: "unix:/path", "host:port", "[v6]:port", optionally with "http://".
struct Address {
    bool unix_socket = false;
    std::string path;  // unix
    std::string host;  // tcp, without brackets
    std::uint16_t port = 0;

    static Result<Address> parse(std::string_view text);
};

Result<FileDescriptor> connect_to(const Address& address, std::chrono::milliseconds timeout);
// Bound, listening, non-blocking. A stale unix socket file is replaced; a live one is a conflict.
Result<FileDescriptor> listen_on(const Address& address);
// "10.0.0.1:80" of a connected or bound socket's own (or the peer's) end; "unix" for unix sockets.
std::string local_name(int fd);
std::string peer_host(int fd);
std::uint16_t local_port(int fd);

}  // namespace goldlink::http
