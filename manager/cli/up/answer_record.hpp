// AnswerRecord: when a process that is asked "are you there?" every few seconds is held to be hung.
// Pure: moments are given, so that tests need no clock.
//
// A false alarm ends the sessions of a whole room, so a silence counts only when it is the
// process's own: not while we ourselves were late (the machine was stopped, or swaps), and not
// while a thread of it waits for a disk, which a restart would wait for just as well.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace goldlink::up {

struct AnswerLimits {
    std::chrono::milliseconds ask_every{5000};
    std::chrono::milliseconds ask_again{1000};  // after a question without an answer
    std::chrono::milliseconds answer_within{4000};
    std::chrono::milliseconds hung_after{18'000};  // of silence, and
    unsigned misses = 3;                           // as many questions without an answer
};

class AnswerRecord {
  public:
    using Time = std::chrono::steady_clock::time_point;

    explicit AnswerRecord(AnswerLimits limits = {}) : limits_(limits) {}

    void answered(Time now);
    // `own`: the silence is the process's own. Where it is not, counting begins anew.
    void missed(Time now, bool own);
    bool hung() const { return hung_; }
    std::chrono::milliseconds next_in() const {
        return misses_ == 0 ? limits_.ask_every : limits_.ask_again;
    }
    std::chrono::milliseconds silent_for() const { return silent_for_; }

  private:
    AnswerLimits limits_;
    Time heard_{};  // last; the epoch: nothing was asked yet
    unsigned misses_ = 0;
    std::chrono::milliseconds silent_for_{0};
    bool hung_ = false;
};

// Threads of a process that sleep uninterruptibly, as those do that wait for a disk (state D of
// proc(5)), with the count of their voluntary context switches: one that has the same count at the
// next look has waited all the time.
using DiskSleepers = std::map<pid_t, std::uint64_t>;
DiskSleepers disk_sleepers(pid_t pid);
bool waited_all_the_time(const DiskSleepers& before, const DiskSleepers& now);

}  // namespace goldlink::up
