// Brings the database up and listens to it: connects, migrates, makes the first admin token, then
// LISTENs. Other threads ask it whether the database serves, and sleep here until a topic changes.
//
// One thread of its own. When the connection is lost it starts over, first at once, then every
// second; what it made (schema, token) is made once. Threads: any may call the public functions.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/file.hpp"
#include "manager/db/pool.hpp"

namespace goldlink::manager {

// What NOTIFY tells about (migrations/0001); `work` changes with registry and tasks.
enum class Topic : std::uint8_t { registry, links, tasks, events, work };

class Watch {
  public:
    Watch(db::Pool& pool, std::string admin_token_file);
    ~Watch();  // stops

    void start();
    void stop();  // wakes all waiters; they see stopping()
    bool stopping() const { return stopping_; }

    // nullopt: the database serves. Else what is wrong with it.
    std::optional<std::string> problem() const;
    // Blocks until the first try to bring the database up has ended, one way or the other.
    void wait_first_try(std::chrono::milliseconds timeout);

    // Counts changes of a topic. Read the count, look at the database, then wait for another count.
    std::uint64_t count(Topic topic) const;
    // Returns at a change, at the timeout, or when stopping.
    void wait(Topic topic, std::uint64_t seen, std::chrono::milliseconds timeout);
    // As if the database had told of it: for what happens inside this process.
    void touch(Topic topic);

  private:
    void run();
    Result<> listen();  // until the connection is lost
    Result<> ensure_admin_token(db::Connection& connection);
    void set_problem(std::optional<std::string> problem);

    db::Pool& pool_;
    const std::string admin_token_file_;
    FileDescriptor wake_;
    std::atomic<bool> stopping_{false};
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::array<std::uint64_t, 5> counts_{};
    std::optional<std::string> problem_ = "it has not been reached yet";
    bool tried_ = false;
    std::thread thread_;
};

}  // namespace goldlink::manager
