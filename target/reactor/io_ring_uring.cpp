#include "target/reactor/io_ring_uring.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "common/check.hpp"

namespace goldlink::reactor {

UringRing::UringRing(boost::asio::io_context& context) : context_(context), eventfd_(context) {}

Result<std::unique_ptr<UringRing>> UringRing::make(boost::asio::io_context& context) {
    std::unique_ptr<UringRing> ring(new UringRing(context));
    GOLDLINK_TRY(ring->start());
    return ring;
}

Result<> UringRing::start() {
    if (const int error = io_uring_queue_init(kDepth, &ring_, IORING_SETUP_CLAMP); error < 0)
        return system_failure("io_uring is refused by this kernel or container", -error);
    started_ = true;
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return system_failure("cannot make an eventfd");
    eventfd_.assign(fd);
    if (const int error = io_uring_register_eventfd(&ring_, fd); error < 0)
        return system_failure("cannot register the eventfd with io_uring", -error);
    watch();
    return {};
}

UringRing::~UringRing() {
    *alive_ = false;
    if (!started_) return;
    io_uring_submit(&ring_);
    while (in_kernel_ > 0) {
        io_uring_cqe* cqe = nullptr;
        if (const int error = io_uring_wait_cqe(&ring_, &cqe); error < 0) {
            CHECK(error == -EINTR, "io_uring_wait_cqe fails on a ring of ours");
            continue;
        }
        io_uring_cqe_seen(&ring_, cqe);
        --in_kernel_;
    }
    io_uring_queue_exit(&ring_);
}

void UringRing::submit(IoOperation& operation) noexcept {
    if (in_kernel_ < kDepth && queue_head_ == nullptr) {
        prepare(operation);
        flush_later();
        return;
    }
    operation.next = nullptr;
    (queue_tail_ != nullptr ? queue_tail_->next : queue_head_) = &operation;
    queue_tail_ = &operation;
    ++queued_;
}

void UringRing::prepare(IoOperation& operation) noexcept {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {  // this turn's entries fill the submission queue: hand them over now
        flush();
        sqe = io_uring_get_sqe(&ring_);
    }
    CHECK(sqe != nullptr, "the submission queue is as deep as kDepth");
    switch (operation.kind) {
        case IoOperation::Kind::read:
            io_uring_prep_readv(sqe, operation.fd, operation.vectors, operation.vector_count,
                                operation.offset_bytes);
            break;
        case IoOperation::Kind::write:
            io_uring_prep_writev(sqe, operation.fd, operation.vectors, operation.vector_count,
                                 operation.offset_bytes);
            break;
        case IoOperation::Kind::data_sync:
            io_uring_prep_fsync(sqe, operation.fd, IORING_FSYNC_DATASYNC);
            break;
        case IoOperation::Kind::full_sync:
            io_uring_prep_fsync(sqe, operation.fd, 0);
            break;
    }
    io_uring_sqe_set_data(sqe, &operation);
    ++in_kernel_;
}

void UringRing::flush_later() noexcept {
    if (flush_posted_) return;
    flush_posted_ = true;
    boost::asio::post(context_, [this, alive = alive_] {
        if (!*alive) return;
        flush_posted_ = false;
        flush();
    });
}

void UringRing::flush() noexcept {
    while (io_uring_sq_ready(&ring_) > 0) {
        const int submitted = io_uring_submit(&ring_);
        if (submitted >= 0) continue;
        if (submitted == -EINTR) continue;
        // EAGAIN and EBUSY: the kernel is short of memory or of completion entries for a moment.
        CHECK(submitted == -EAGAIN || submitted == -EBUSY, "io_uring refuses a submission of ours");
        flush_later();
        return;
    }
}

void UringRing::watch() noexcept {
    eventfd_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                        [this, alive = alive_](const boost::system::error_code& error) {
                            if (error || !*alive) return;
                            reap();
                            if (*alive) watch();
                        });
}

void UringRing::reap() noexcept {
    std::uint64_t count = 0;
    // Asio may watch edge-triggered: read it empty before looking at the queue.
    while (::read(eventfd_.native_handle(), &count, sizeof count) < 0 && errno == EINTR) {
    }
    const auto alive = alive_;  // a completion may destroy the ring's owner
    for (;;) {
        io_uring_cqe* cqe = nullptr;
        if (io_uring_peek_cqe(&ring_, &cqe) != 0 || cqe == nullptr) break;
        auto* operation = static_cast<IoOperation*>(io_uring_cqe_get_data(cqe));
        operation->result = cqe->res;
        io_uring_cqe_seen(&ring_, cqe);
        --in_kernel_;
        operation->complete(*operation);
        if (!*alive) return;
    }
    fill_from_queue();
}

void UringRing::fill_from_queue() noexcept {
    bool prepared = false;
    while (queue_head_ != nullptr && in_kernel_ < kDepth) {
        IoOperation& operation = *queue_head_;
        queue_head_ = operation.next;
        if (queue_head_ == nullptr) queue_tail_ = nullptr;
        --queued_;
        prepare(operation);
        prepared = true;
    }
    if (prepared) flush();
}

}  // namespace goldlink::reactor
