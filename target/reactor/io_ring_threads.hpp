// ThreadRing: the io_uring work done by kThreads threads with blocking calls, for kernels and
// containers that refuse io_uring. Completions come back to the reactor in batches.
//
// Destruction ends what runs, drops what waits, and calls no completion.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "target/reactor/io_ring.hpp"

namespace goldlink::reactor {

class ThreadRing final : public IoRing {
  public:
    static constexpr std::size_t kThreads = 4;

    explicit ThreadRing(boost::asio::io_context& context);
    ~ThreadRing() override;

    void submit(IoOperation& operation) noexcept override;
    std::size_t in_flight() const override { return in_flight_; }
    const char* kind() const override { return "threads"; }

  private:
    // An intrusive first-in first-out list through IoOperation::next.
    struct List {
        IoOperation* head = nullptr;
        IoOperation* tail = nullptr;
        void push(IoOperation& operation);
        IoOperation* pop();
    };

    void work();
    void deliver();

    boost::asio::io_context& context_;
    std::size_t in_flight_ = 0;                                   // reactor thread
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // reactor thread

    std::mutex mutex_;  // guards what follows
    std::condition_variable wake_;
    List waiting_;
    List finished_;
    bool deliver_posted_ = false;
    bool stopping_ = false;

    std::array<std::thread, kThreads> threads_;
};

}  // namespace goldlink::reactor
