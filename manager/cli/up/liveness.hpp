// Liveness: asks one child again and again whether it is there, on a thread of its own, so that one
// that hangs holds up nobody but this thread.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/result.hpp"
#include "manager/cli/up/answer_record.hpp"

namespace goldlink::up {

class Liveness {
  public:
    // Asks once and waits no longer than `limit` for the answer. An error is no answer.
    using Ask = std::function<Result<>(std::chrono::milliseconds limit)>;

    Liveness(std::string name, Ask ask, AnswerLimits limits = {});
    ~Liveness();

    void watch(pid_t pid);  // it serves: it is asked from now on
    void rest();            // it has ended
    // Why it is held to be hung; nullopt: it is not.
    std::optional<std::string> hung() const;

  private:
    void run();
    void ask_once(pid_t pid, bool late);

    const std::string name_;
    const Ask ask_;
    const AnswerLimits limits_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    pid_t pid_ = 0;  // 0: nothing to ask; guarded by mutex_, as all below
    AnswerRecord record_;
    std::string why_;  // the last question had no answer
    bool ending_ = false;
    DiskSleepers sleepers_;   // of the thread, as the next
    bool said_disk_ = false;  // that it waits for a disk
    std::thread thread_;
};

// GET /live of a daemon's control API: "unix:/path".
Result<> ask_control(const std::string& control, std::chrono::milliseconds limit);

}  // namespace goldlink::up
