#include "target/reactor/io_ring_threads.hpp"

#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

namespace goldlink::reactor {

namespace {

std::int64_t run(const IoOperation& operation) {
    const auto offset = static_cast<off_t>(operation.offset_bytes);
    const int count = static_cast<int>(operation.vector_count);
    ssize_t result = 0;
    do {
        switch (operation.kind) {
            case IoOperation::Kind::read:
                result = ::preadv(operation.fd, operation.vectors, count, offset);
                break;
            case IoOperation::Kind::write:
                result = ::pwritev(operation.fd, operation.vectors, count, offset);
                break;
            case IoOperation::Kind::data_sync:
                result = ::fdatasync(operation.fd);
                break;
            case IoOperation::Kind::full_sync:
                result = ::fsync(operation.fd);
                break;
        }
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

}  // namespace

void ThreadRing::List::push(IoOperation& operation) {
    operation.next = nullptr;
    (tail != nullptr ? tail->next : head) = &operation;
    tail = &operation;
}

IoOperation* ThreadRing::List::pop() {
    IoOperation* operation = head;
    if (operation != nullptr) {
        head = operation->next;
        if (head == nullptr) tail = nullptr;
    }
    return operation;
}

ThreadRing::ThreadRing(boost::asio::io_context& context) : context_(context) {
    for (auto& thread : threads_) thread = std::thread([this] { work(); });
}

ThreadRing::~ThreadRing() {
    *alive_ = false;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        waiting_ = {};
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void ThreadRing::submit(IoOperation& operation) noexcept {
    ++in_flight_;
    {
        const std::lock_guard lock(mutex_);
        waiting_.push(operation);
    }
    wake_.notify_one();
}

void ThreadRing::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || waiting_.head != nullptr; });
        if (stopping_) return;
        IoOperation* operation = waiting_.pop();
        lock.unlock();
        operation->result = run(*operation);
        lock.lock();
        finished_.push(*operation);
        if (!deliver_posted_ && !stopping_) {
            deliver_posted_ = true;
            boost::asio::post(context_, [this, alive = alive_] {
                if (*alive) deliver();
            });
        }
    }
}

void ThreadRing::deliver() {
    List batch;
    {
        const std::lock_guard lock(mutex_);
        deliver_posted_ = false;
        std::swap(batch, finished_);
    }
    const auto alive = alive_;  // a completion may destroy the ring's owner
    while (IoOperation* operation = batch.pop()) {
        --in_flight_;
        operation->complete(*operation);
        if (!*alive) return;
    }
}

}  // namespace goldlink::reactor
