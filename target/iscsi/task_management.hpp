// TaskManagement: the task management requests of one session from their arrival to their response
// (RFC 7143 11.5, 11.6), which for those that abort several tasks is 4.2.3.2's order of steps:
//   1. wait for the data of R2Ts that are out for affected tasks, and for all commands before the
//      request in CmdSN order; commands from its CmdSN on have no turn meanwhile
//   2. have the device abort, wait until the last aborted task has left it
//   3. in a session of several connections, wait until what was sent on all of them is
//      acknowledged, respond, and hold other responses until that one is acknowledged: the
//      Response Fence (4.2.2.3.2)
// ABORT TASK is carried out at once and answered when its task is gone.
//
// Open-iscsi by default (FastAbort=Yes) sends nothing for R2Ts once it has asked for an abort, so
// step 1 waits for data kMaxDataWaitMs and no longer. At most kMaxPending requests wait.
#pragma once

#include <cstdint>
#include <vector>

#include "target/iscsi/pdu.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::iscsi {

class Session;
class SessionConnection;
struct Command;

class TaskManagement {
  public:
    static constexpr std::size_t kMaxPending = 16;
    static constexpr std::uint64_t kMaxDataWaitMs = 2'000;

    explicit TaskManagement(Session& session) : session_(session) {}

    void request(SessionConnection& from, const Pdu& pdu);

    bool idle() const { return pending_.empty(); }
    // No further R2T is sent for this task: a request that will abort it waits for its data.
    bool stops(const Command& command) const;
    // A fence is up: SCSI responses wait.
    bool fences() const { return fenced_; }

    // Goes on as far as it can; to be called after anything a request may wait for.
    void advance();
    void tick(std::uint64_t now_ms);
    // A connection closes: its requests are not answered any more.
    void forget(const SessionConnection& from);
    void clear();

  private:
    enum class Stage : std::uint8_t { gathering, ending, fencing, acknowledging, done };
    struct Pending {
        SessionConnection* from;
        std::uint32_t itt;
        std::uint32_t cmd_sn;
        std::uint64_t lun;
        scsi::TaskManagement function;
        scsi::TaskManagementAnswer answer = scsi::TaskManagementAnswer::complete;
        Stage stage = Stage::gathering;
        bool waits_for_data = true;
        std::uint64_t since_ms = 0;           // of its stage; 0: no tick has seen it
        const Command* referenced = nullptr;  // of ABORT TASK, with the use of its slot
        std::uint16_t generation = 0;
        std::uint32_t acknowledged_by = 0;  // ExpStatSN that acknowledges the response
    };

    void abort_task(Pending& pending, std::uint32_t referenced_tag, std::uint32_t ref_cmd_sn);
    bool affects(const Pending& pending, const Command& command) const;
    bool data_awaited(const Pending& pending) const;
    bool aborted_tasks_run(const Pending& pending) const;
    bool acknowledged(const Pending& pending) const;
    bool step(Pending& pending);  // true: its stage changed
    void enter(Pending& pending, Stage stage);
    void respond(Pending& pending);
    void sweep();
    void set_barrier();
    void lower_fence();

    Session& session_;
    std::vector<Pending> pending_;
    bool fenced_ = false;
    bool cold_reset_ = false;
    bool advancing_ = false;
    bool again_ = false;
};

}  // namespace goldlink::iscsi
