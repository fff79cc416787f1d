// UringRing: file I/O through io_uring. Submissions of one loop turn go to the kernel in one
// system call; completions wake the loop through an eventfd that Asio watches.
//
// At most kDepth operations are in the kernel; more wait in a queue in the order they came.
// Destruction waits until the kernel has let go of every buffer and calls no completion.
#pragma once

#include <liburing.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>

#include "common/result.hpp"
#include "target/reactor/io_ring.hpp"

namespace goldlink::reactor {

class UringRing final : public IoRing {
  public:
    static constexpr unsigned kDepth = 256;

    // unavailable when the kernel or a seccomp filter refuses io_uring.
    static Result<std::unique_ptr<UringRing>> make(boost::asio::io_context& context);
    ~UringRing() override;

    void submit(IoOperation& operation) noexcept override;
    std::size_t in_flight() const override { return in_kernel_ + queued_; }
    const char* kind() const override { return "io_uring"; }

  private:
    explicit UringRing(boost::asio::io_context& context);
    Result<> start();
    void prepare(IoOperation& operation) noexcept;
    void flush_later() noexcept;
    void flush() noexcept;
    void watch() noexcept;
    void reap() noexcept;
    void fill_from_queue() noexcept;

    boost::asio::io_context& context_;
    boost::asio::posix::stream_descriptor eventfd_;
    io_uring ring_{};
    bool started_ = false;
    bool flush_posted_ = false;
    std::size_t in_kernel_ = 0;  // prepared or submitted
    std::size_t queued_ = 0;
    IoOperation* queue_head_ = nullptr;
    IoOperation* queue_tail_ = nullptr;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // read by posted work only
};

}  // namespace goldlink::reactor
