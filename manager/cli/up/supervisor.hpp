// Runs a list of services as children: starts each when those it needs are ready, restarts one that
// dies after a growing pause, stops all in the reverse order of the list. Everything but reading
// the children's output happens on the caller's thread.
//
// During the first start a service that keeps ending makes run() give up, with its last words: a
// wrong setting should not look like a slow start. Afterwards it is restarted for as long as it
// takes.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/child.hpp"
#include "common/result.hpp"
#include "manager/cli/up/processes.hpp"

namespace goldlink::up {

struct Service {
    std::string name;
    ChildOptions child;                // without on_line
    std::vector<std::string> needs;    // names of services earlier in the list
    bool says_ready = true;            // it is ready only after a line "ready" on its output
    std::function<bool(pid_t)> ready;  // and, when set, only once this is true
    std::function<Result<>()> before_start;
    std::string line_prefix;  // before each line of its output that we pass on
    int stop_signal = SIGTERM;
    std::chrono::milliseconds stop_grace{10'000};
};

// How long to wait before the next start after `failures` ends in a row: 0.2 s doubling to 10 s.
std::chrono::milliseconds restart_pause(unsigned failures);

class Supervisor {
  public:
    // `on_change` gets the living children after each start, for the record of the next run.
    Supervisor(std::vector<Service> services,
               std::function<void(const std::vector<ChildRecord>&)> on_change);
    ~Supervisor();

    // Runs until SIGINT, SIGTERM or SIGHUP (which the caller has blocked in all threads), then
    // stops all. `on_ready` is called once, when all serve for the first time; its error ends the
    // run.
    Result<> run(const std::function<Result<>()>& on_ready);

  private:
    struct Running;

    Result<> start_what_can();
    Result<> start(Running& running);
    Result<> look_after(Running& running);
    void stop_all();
    void record() const;
    bool all_ready() const;
    const Running& named(const std::string& name) const;

    std::vector<std::unique_ptr<Running>> services_;
    std::function<void(const std::vector<ChildRecord>&)> on_change_;
    bool was_ready_ = false;
};

// The signals that end `goldlink up`. Blocks them in the calling thread and those it makes.
void block_stop_signals();

}  // namespace goldlink::up
