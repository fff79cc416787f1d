// A supervised child process: spawned with its own argv and environment, its output read line by
// line, ended with SIGTERM then SIGKILL, reaped. It dies with us (PR_SET_PDEATHSIG).
// Owned by one thread; `on_line` runs on the child's reader thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink {

struct ChildOptions {
    std::vector<std::string> argv{};                       // argv[0] is looked up in PATH
    std::vector<std::string> extra_environment{};          // "NAME=value"
    std::string working_directory{};                       // "" keeps ours
    std::function<void(std::string_view line)> on_line{};  // stdout and stderr; unset: inherit ours
    // Runs in the child before exec (rlimits, seccomp, setuid). Only async-signal-safe calls.
    std::function<void()> before_exec{};
    bool new_process_group = true;  // so that Ctrl-C at the terminal reaches only the parent
};

struct ExitStatus {
    int code = 0;                  // exit code, or 128 + signal
    int signal = 0;                // 0 when it exited by itself
    std::string describe() const;  // "exited with code 3", "was killed by signal 9 (Killed)"
};

class Child {
  public:
    static Result<Child> spawn(ChildOptions options);
    Child(Child&&) noexcept;
    Child& operator=(Child&&) noexcept;
    ~Child();  // stops it

    pid_t pid() const;
    bool running();
    // Blocks until it ended, or nullopt after the timeout.
    std::optional<ExitStatus> wait(std::chrono::milliseconds timeout);
    void send_signal(int signal);
    // SIGTERM, then SIGKILL after `grace`. Returns how it ended.
    ExitStatus stop(std::chrono::milliseconds grace);

  private:
    struct State;
    explicit Child(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Runs to the end and returns its whole output (bounded); a non-zero exit is an error that quotes
// the last lines of the output.
Result<std::string> run_command(std::vector<std::string> argv, std::chrono::milliseconds timeout,
                                std::size_t max_output_bytes = 1 << 20);

}  // namespace goldlink
