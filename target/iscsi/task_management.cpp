#include "target/iscsi/task_management.hpp"

#include <algorithm>
#include <utility>

#include "common/log.hpp"
#include "target/iscsi/session_connection.hpp"

namespace goldlink::iscsi {

namespace {

using Function = scsi::TaskManagement;
using Answer = scsi::TaskManagementAnswer;

bool aborts_several(Function function) {
    switch (function) {
        case Function::abort_task_set:
        case Function::clear_task_set:
        case Function::logical_unit_reset:
        case Function::target_warm_reset:
        case Function::target_cold_reset:
            return true;
        default:
            return false;
    }
}

bool of_target(Function function) {
    return function == Function::target_warm_reset || function == Function::target_cold_reset;
}

}  // namespace

void TaskManagement::request(SessionConnection& from, const Pdu& pdu) {
    const Bhs bhs = pdu.bhs;
    if (!session_.attached() || !bhs.final()) return from.reject(pdu, RejectReason::protocol_error);
    if (pending_.size() >= kMaxPending) return from.reject(pdu, RejectReason::too_many_immediate);
    session_.environment().counters.task_management.add();
    Pending pending{.from = &from,
                    .itt = bhs.itt(),
                    .cmd_sn = bhs.cmd_sn(),
                    .lun = bhs.lun(),
                    .function = static_cast<Function>(bhs.flags() & 0x7f)};
    log::info("{}: {} asks for task management function {} on LUN {:016x}", session_.info().address,
              session_.initiator_name(), static_cast<unsigned>(pending.function), pending.lun);

    CommandOrder& order = session_.order();
    if (pending.function == Function::abort_task) {
        enter(pending, Stage::ending);
        abort_task(pending, bhs.referenced_task_tag(), bhs.ref_cmd_sn());
    } else if (aborts_several(pending.function)) {
        // A CmdSN that cannot be is taken for the present one; a request that came in its turn is
        // behind its own.
        if (!bhs.immediate() || sn_less(order.max_cmd_sn() + 1, pending.cmd_sn) ||
            sn_less(pending.cmd_sn, order.exp_cmd_sn()))
            pending.cmd_sn = order.exp_cmd_sn();
        // 4.2.3.2 b: of a whole target nothing before the request is waited for.
        if (of_target(pending.function)) order.plug_before(pending.cmd_sn);
    } else {
        pending.answer = pending.function == Function::task_reassign
                             ? Answer::reassign_not_supported  // needs ErrorRecoveryLevel 2
                             : Answer::not_supported;
        enter(pending, Stage::ending);
    }
    pending_.push_back(pending);
    set_barrier();
    advance();
}

// 11.5.1, 11.6.1. The task may be allegiant to any connection of the session.
void TaskManagement::abort_task(Pending& pending, std::uint32_t referenced_tag,
                                std::uint32_t ref_cmd_sn) {
    Command* command = session_.commands().find(referenced_tag);
    if (command != nullptr && command->task.lun != pending.lun) command = nullptr;
    if (command == nullptr) {
        // It never arrived, or waits for its turn: its CmdSN counts as received from here on.
        const CommandOrder& order = session_.order();
        const bool expected = !sn_less(ref_cmd_sn, order.exp_cmd_sn()) &&
                              !sn_less(order.max_cmd_sn(), ref_cmd_sn) &&
                              sn_less(ref_cmd_sn, pending.cmd_sn);
        pending.answer = expected ? Answer::complete : Answer::task_does_not_exist;
        if (expected) session_.order().plug(ref_cmd_sn);
        return;
    }
    if (command->state == Command::State::executing ||
        command->state == Command::State::collecting) {
        pending.answer = session_.device().manage(*session_.nexus(), Function::abort_task,
                                                  pending.lun, &command->task);
        if (pending.answer != Answer::complete) return;
    }
    if (command->state == Command::State::executing) {
        pending.referenced = command;
        pending.generation = command->generation;
    } else {
        command->connection->drop(*command);
    }
}

bool TaskManagement::affects(const Pending& pending, const Command& command) const {
    return of_target(pending.function) || command.task.lun == pending.lun;
}

bool TaskManagement::stops(const Command& command) const {
    return std::ranges::any_of(pending_, [&](const Pending& pending) {
        return pending.stage == Stage::gathering && affects(pending, command);
    });
}

bool TaskManagement::data_awaited(const Pending& pending) const {
    bool awaited = false;
    session_.commands().for_each([&](const Command& command) {
        awaited = awaited || (command.state == Command::State::collecting &&
                              command.r2t_sn != command.r2t_done && affects(pending, command));
    });
    return awaited;
}

bool TaskManagement::aborted_tasks_run(const Pending& pending) const {
    if (pending.referenced != nullptr)
        return pending.referenced->generation == pending.generation &&
               pending.referenced->state == Command::State::executing;
    bool run = false;
    const auto look = [&](Session& session) {
        session.commands().for_each([&](const Command& command) {
            // One that the device has done with is being answered further up this call.
            run = run || (command.state == Command::State::executing &&
                          (command.task.aborted || command.task.phase == scsi::TaskPhase::outside));
        });
    };
    if (!aborts_several(pending.function)) return false;
    if (pending.function == Function::abort_task_set)
        look(session_);
    else
        session_.environment().sessions.for_each_of_target(session_.target_name(), look);
    return run;
}

bool TaskManagement::acknowledged(const Pending& pending) const {
    bool all = true;
    for (SessionConnection* each : session_.connections()) {
        if (each == pending.from || each->closing() || each->fence_acknowledged()) continue;
        all = false;
        each->solicit_acknowledgement();
    }
    return all;
}

void TaskManagement::enter(Pending& pending, Stage stage) {
    pending.stage = stage;
    pending.since_ms = 0;
}

void TaskManagement::advance() {
    if (advancing_) {
        again_ = true;
        return;
    }
    advancing_ = true;
    do {
        again_ = false;
        for (std::size_t i = 0; i < pending_.size(); ++i)
            while (step(pending_[i])) continue;
    } while (again_);
    advancing_ = false;
    sweep();
    if (!std::exchange(cold_reset_, false)) return;
    // 11.5.1: TARGET COLD RESET ends every session of the target, this one included.
    std::vector<Session*> all;
    session_.environment().sessions.for_each_of_target(session_.target_name(),
                                                       [&](Session& s) { all.push_back(&s); });
    for (Session* session : all) session->end(SessionEnd::connection_lost);
}

bool TaskManagement::step(Pending& pending) {
    switch (pending.stage) {
        case Stage::gathering:
            if (pending.waits_for_data && data_awaited(pending)) return false;
            if (sn_less(session_.order().exp_cmd_sn(), pending.cmd_sn)) return false;
            pending.answer =
                session_.device().manage(*session_.nexus(), pending.function, pending.lun, nullptr);
            enter(pending, Stage::ending);
            session_.environment().sessions.for_each_of_target(
                session_.target_name(), [](Session& session) { session.drop_aborted(); });
            return true;
        case Stage::ending:
            if (aborted_tasks_run(pending)) return false;
            if (!aborts_several(pending.function) || session_.live_connections() < 2) {
                respond(pending);
                enter(pending, Stage::done);
                return true;
            }
            if (fenced_) return false;  // one at a time
            fenced_ = true;
            for (SessionConnection* each : session_.connections())
                if (each != pending.from) each->begin_fence();
            enter(pending, Stage::fencing);
            return true;
        case Stage::fencing:
            if (!acknowledged(pending)) return false;
            respond(pending);
            enter(pending, Stage::acknowledging);
            pending.from->solicit_acknowledgement();
            return true;
        case Stage::acknowledging:
            if (!pending.from->has_acknowledged(pending.acknowledged_by)) {
                pending.from->solicit_acknowledgement();
                return false;
            }
            enter(pending, Stage::done);
            lower_fence();
            return true;
        case Stage::done:
            return false;
    }
    return false;
}

void TaskManagement::respond(Pending& pending) {
    pending.acknowledged_by =
        pending.from->send_task_management_response(pending.itt, pending.answer);
    cold_reset_ = cold_reset_ || (pending.function == Function::target_cold_reset &&
                                  pending.answer == Answer::complete);
}

void TaskManagement::lower_fence() {
    fenced_ = false;
    session_.commands().for_each([](Command& command) {
        if (command.state == Command::State::answered) command.connection->go_on(command);
    });
}

void TaskManagement::set_barrier() {
    std::optional<std::uint32_t> barrier;
    for (const Pending& pending : pending_)
        if (pending.stage == Stage::gathering && (!barrier || sn_less(pending.cmd_sn, *barrier)))
            barrier = pending.cmd_sn;
    session_.order().set_barrier(barrier);
}

void TaskManagement::tick(std::uint64_t now_ms) {
    SessionConnection* silent = nullptr;
    for (Pending& pending : pending_) {
        if (pending.since_ms == 0) pending.since_ms = now_ms;
        const std::uint64_t waited_ms = now_ms - pending.since_ms;
        if (pending.stage == Stage::gathering && waited_ms >= kMaxDataWaitMs)
            pending.waits_for_data = false;
        // Nothing but an acknowledgement is missing, so one of the connections is dead.
        if ((pending.stage == Stage::fencing || pending.stage == Stage::acknowledging) &&
            waited_ms >= session_.environment().ping_timeout_ms)
            silent = pending.from;
    }
    if (silent != nullptr) return session_.connection_failed(*silent, SessionEnd::timeout);
    session_.progress();
}

void TaskManagement::forget(const SessionConnection& from) {
    bool fence_falls = false;
    bool any = false;
    for (Pending& pending : pending_) {
        if (pending.from != &from || pending.stage == Stage::done) continue;
        any = true;
        fence_falls =
            fence_falls || pending.stage == Stage::fencing || pending.stage == Stage::acknowledging;
        pending.stage = Stage::done;
    }
    if (!any) return;
    sweep();
    if (fence_falls) lower_fence();
    session_.commands().for_each([](Command& command) {
        if (command.state == Command::State::collecting) command.connection->go_on(command);
    });
}

void TaskManagement::clear() {
    for (Pending& pending : pending_) pending.stage = Stage::done;
    fenced_ = false;
    sweep();
}

// Forgets what is done, but not under advance()'s feet: it comes here itself.
void TaskManagement::sweep() {
    if (!advancing_)
        std::erase_if(pending_, [](const Pending& each) { return each.stage == Stage::done; });
    set_barrier();
}

}  // namespace goldlink::iscsi
