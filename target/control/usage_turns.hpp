// UsageTurns: one look into a disk at a time on this node, and none that keeps a disk from being
// saved, committed, rebased or dropped: these end a look of their link. Threads: any.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace goldlink::control {

class UsageTurns {
  public:
    // Held while one looks; ends the turn.
    class Turn {
      public:
        Turn(UsageTurns& turns, std::string link_id)
            : turns_(turns), link_id_(std::move(link_id)) {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() { turns_.leave(); }
        const std::atomic<bool>& cancelled() const { return cancelled_; }

      private:
        friend class UsageTurns;
        UsageTurns& turns_;
        const std::string link_id_;
        std::atomic<bool> cancelled_{false};
    };

    // Null when another look did not end within `wait`, or after stop().
    std::unique_ptr<Turn> enter(std::string link_id, std::chrono::milliseconds wait);
    // Ends a look into a disk of that link and waits, a little, until it has let go.
    void give_way(std::string_view link_id);
    // The same without waiting.
    void cancel(std::string_view link_id);
    // Ends what goes on; there are no more turns.
    void stop();
    bool stopped() const;

  private:
    void leave();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Turn* current_ = nullptr;
    bool stopped_ = false;
};

}  // namespace goldlink::control
