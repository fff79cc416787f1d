// Probe: asks one question on a thread of its own, on demand, so that whoever wants to know waits
// no longer than it likes for somebody who may hang. However many want to know, one question is
// under way, and a good answer serves all for a second. A bad one is shared by those who waited for
// it, and by nobody after: it may be over. Threads: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace goldlink::manager {

// Answer: true when it is a good one, as a Result is. `ask` ends by itself, however late.
template <typename Answer>
class Probe {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds kGoodFor{1};

    explicit Probe(std::function<Answer()> ask)
        : ask_(std::move(ask)), thread_([this] { run(); }) {}
    ~Probe() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    // Lets it ask meanwhile, if there is nothing to be had from before.
    void want(Clock::time_point entered) {
        const std::lock_guard lock(mutex_);
        if (!serves(entered)) want_locked();
    }

    // For who wanted to know at `entered`. nullopt: nothing was said by `until`.
    std::optional<Answer> get(Clock::time_point entered, Clock::time_point until) {
        std::unique_lock lock(mutex_);
        if (!serves(entered)) {
            want_locked();
            changed_.wait_until(lock, until, [&] { return serves(entered); });
        }
        return serves(entered) ? answer_ : std::nullopt;
    }

  private:
    bool serves(Clock::time_point entered) const {
        if (!answer_) return false;
        return answered_ >= entered || (*answer_ && entered - answered_ < kGoodFor);
    }
    void want_locked() {
        wanted_ = true;
        changed_.notify_all();
    }
    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            changed_.wait(lock, [this] { return wanted_ || ending_; });
            if (ending_) return;
            lock.unlock();
            Answer answer = ask_();
            lock.lock();
            wanted_ = false;  // who came meanwhile is answered by this, too
            answer_.emplace(std::move(answer));
            answered_ = Clock::now();
            changed_.notify_all();
        }
    }

    const std::function<Answer()> ask_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool wanted_ = false;
    bool ending_ = false;
    std::optional<Answer> answer_;
    Clock::time_point answered_{};
    std::thread thread_;  // last: it uses all of these
};

}  // namespace goldlink::manager
