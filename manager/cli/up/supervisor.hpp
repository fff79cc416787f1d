// Runs a list of services as children: starts each when those it needs are ready, restarts one that
// dies or hangs, stops all in the reverse order of the list.
//
// One that cannot start keeps no other from serving: it is tried again for as long as it takes, and
// those that need it wait for it a moment only. Of a first start on an empty state folder alone
// (`give_up`) a service that keeps ending makes run() end with its last words: a wrong setting
// should not look like a slow start.
//
// Everything but reading the children's output, preparing and asking whether they live happens on
// the caller's thread.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/child.hpp"
#include "common/result.hpp"
#include "manager/cli/up/liveness.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

struct Service {
    std::string name;
    ChildOptions child;  // without on_line
    // Done before each start; gives the child to start in place of `child`. May take minutes: it
    // runs on a thread of its own, and ends soon after `stop` is set.
    std::function<Result<ChildOptions>(const std::atomic<bool>& stop)> prepare;
    std::vector<std::string> needs;    // names of services earlier in the list
    bool for_clients = false;          // PCs need it: they are served once these are ready
    bool says_ready = true;            // it is ready only after a line "ready" on its output
    std::function<bool(pid_t)> ready;  // and, when set, only once this is true
    // Whether it lives, asked every few seconds once it is ready; unset: it is not asked.
    Liveness::Ask ask;
    std::string line_prefix;  // before each line of its output that we pass on
    int stop_signal = SIGTERM;
    std::chrono::milliseconds stop_grace{10'000};
};

// How long to wait before the next start after `failures` ends in a row: 0.2 s, doubling to what
// is right for how it ended.
enum class Ended {
    killed,   // by a signal: nothing says that the next start fails; at most 1 s
    serving,  // by itself after it was ready; at most 2 s
    starting  // by itself before; at most 10 s
};
std::chrono::milliseconds restart_pause(unsigned failures, Ended how);

struct SupervisorHooks {
    // The living children, for the record of the next run.
    std::function<void(const std::vector<ChildRecord>&)> children_changed;
    // Called once, when all serve for the first time; its error ends the run.
    std::function<Result<>()> all_ready = [] { return Result<>(); };
    // `served`: the services for clients are all ready. `text` says how it stands, in one line.
    std::function<void(bool served, const std::string& text)> changed = [](bool,
                                                                           const std::string&) {};
    std::function<void()> stopping = [] {};
    // Several times a second, also while it stops.
    std::function<void()> tick = [] {};
};

class Supervisor {
  public:
    Supervisor(std::vector<Service> services, SupervisorHooks hooks, bool give_up = false,
               AnswerLimits limits = {});
    ~Supervisor();

    // Runs until SIGINT, SIGTERM or SIGHUP (which the caller has blocked in all threads), then
    // stops all.
    Result<> run();

  private:
    struct Running;

    Result<> start_what_can();
    Result<> start(Running& running);
    Result<> spawn(Running& running, ChildOptions options);
    Result<> look_after(Running& running);
    Result<> failed(Running& running, std::string why, Ended how);
    void tell_changes();
    bool may_start(const Running& running) const;
    bool settled() const;
    void stop_all();
    void stop_one(Running& running);
    void record() const;
    bool all_ready() const;
    const Running& named(const std::string& name) const;

    std::vector<std::unique_ptr<Running>> services_;
    SupervisorHooks hooks_;
    const bool give_up_;
    std::chrono::steady_clock::time_point began_{};
    bool was_ready_ = false;
    std::string told_;
};

// The signals that end `goldlink up`. Blocks them in the calling thread and those it makes.
void block_stop_signals();

}  // namespace goldlink::up
