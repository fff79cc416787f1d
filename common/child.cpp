#include "common/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <future>
#include <mutex>
#include <thread>

#include "common/check.hpp"
#include "common/file.hpp"

namespace goldlink {
namespace {

constexpr std::size_t kMaxLineBytes = 64 * 1024;
constexpr std::size_t kQuotedBytes = 2000;

// PR_SET_PDEATHSIG counts the *thread* that forked, not the process. So all forks are made by one
// thread that lives as long as the process does.
class Spawner {
  public:
    static Spawner& instance() {
        static auto* const spawner = new Spawner;  // never destroyed: its thread is detached
        return *spawner;
    }

    pid_t run(const std::function<pid_t()>& fork_it) {
        const std::lock_guard one_caller(callers_);
        std::unique_lock lock(mutex_);
        work_ = &fork_it;
        changed_.notify_all();
        changed_.wait(lock, [this] { return work_ == nullptr; });
        return result_;
    }

  private:
    Spawner() {
        std::thread([this] {
            // Signals of the process are for its other threads.
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
            std::unique_lock lock(mutex_);
            for (;;) {
                changed_.wait(lock, [this] { return work_ != nullptr; });
                result_ = (*work_)();
                work_ = nullptr;
                changed_.notify_all();
            }
        }).detach();
    }

    std::mutex callers_;
    std::mutex mutex_;
    std::condition_variable changed_;
    const std::function<pid_t()>* work_ = nullptr;
    pid_t result_ = -1;
};

// Between fork and exec only async-signal-safe calls are allowed: everything is prepared before.
struct ChildPlan {
    std::vector<char*> argv;
    std::vector<char*> environment;
    const char* working_directory = nullptr;
    int output = -1;  // stdout and stderr, or -1
    int error_pipe = -1;
    pid_t parent = 0;
    bool new_process_group = true;
    const std::function<void()>* before_exec = nullptr;
};

[[noreturn]] void report_and_exit(int pipe) {
    const int error = errno;
    [[maybe_unused]] const ssize_t n = ::write(pipe, &error, sizeof error);
    ::_exit(127);
}

[[noreturn]] void become_child(const ChildPlan& plan) {
    if (plan.new_process_group) ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) ::_exit(127);  // the parent died before the line above
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD})
        ::sigaction(signal, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null_input = ::open("/dev/null", O_RDONLY);
    if (null_input < 0 || ::dup2(null_input, 0) < 0) report_and_exit(plan.error_pipe);
    if (plan.output >= 0 && (::dup2(plan.output, 1) < 0 || ::dup2(plan.output, 2) < 0))
        report_and_exit(plan.error_pipe);
    ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    if (plan.working_directory != nullptr && ::chdir(plan.working_directory) != 0)
        report_and_exit(plan.error_pipe);
    if (*plan.before_exec) (*plan.before_exec)();
    ::execvpe(plan.argv[0], plan.argv.data(), plan.environment.data());
    report_and_exit(plan.error_pipe);
}

std::vector<std::string> merged_environment(const std::vector<std::string>& extra) {
    std::vector<std::string> merged;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::string_view name = text.substr(0, text.find('=') + 1);
        bool replaced = false;
        for (const std::string& other : extra) replaced = replaced || other.starts_with(name);
        if (!replaced) merged.emplace_back(text);
    }
    merged.insert(merged.end(), extra.begin(), extra.end());
    return merged;
}

// Splits what a child writes into lines; progress meters end theirs with a carriage return.
class LineSplitter {
  public:
    explicit LineSplitter(std::function<void(std::string_view)> on_line)
        : on_line_(std::move(on_line)) {}

    void add(std::string_view bytes) {
        for (const char c : bytes) {
            if (c == '\n' || c == '\r') {
                flush();
            } else {
                line_.push_back(c);
                if (line_.size() >= kMaxLineBytes) flush();
            }
        }
    }
    void flush() {
        if (!line_.empty()) on_line_(line_);
        line_.clear();
    }

  private:
    std::function<void(std::string_view)> on_line_;
    std::string line_;
};

// Reads until the end of the pipe; once `ended` is readable (the child is reaped) only what is
// there already: a grandchild may keep the pipe open for ever.
void read_output(int pipe, int ended, LineSplitter lines) {
    char buffer[16384];
    bool child_ended = false;
    for (;;) {
        const ssize_t n = ::read(pipe, buffer, sizeof buffer);
        if (n > 0) {
            lines.add(std::string_view(buffer, static_cast<std::size_t>(n)));
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) break;
        if (child_ended && errno == EAGAIN) break;
        std::array<pollfd, 2> polled{{{pipe, POLLIN, 0}, {ended, POLLIN, 0}}};
        if (::poll(polled.data(), polled.size(), -1) > 0 && polled[1].revents != 0)
            child_ended = true;
    }
    lines.flush();
}

}  // namespace

std::string ExitStatus::describe() const {
    if (signal != 0)
        return fmt::format("was killed by signal {} ({})", signal, ::strsignal(signal));
    return fmt::format("exited with code {}", code);
}

struct Child::State {
    pid_t pid = -1;
    bool own_group = true;
    FileDescriptor pidfd;
    std::optional<ExitStatus> status;
    FileDescriptor output;
    FileDescriptor ended_event;
    std::thread reader;

    ~State() {
        if (reader.joinable()) reader.join();
    }

    void reap() {
        int raw = 0;
        pid_t reaped = 0;
        do {
            reaped = ::waitpid(pid, &raw, 0);
        } while (reaped < 0 && errno == EINTR);
        ExitStatus ended;
        if (reaped != pid) {
            ended.code = 255;  // somebody else took it; not reachable while we own the pid
        } else if (WIFSIGNALED(raw)) {
            ended.signal = WTERMSIG(raw);
            ended.code = 128 + ended.signal;
        } else {
            ended.code = WEXITSTATUS(raw);
        }
        status = ended;
        if (reader.joinable()) {
            const std::uint64_t one = 1;
            CHECK(::write(ended_event.get(), &one, sizeof one) == sizeof one,
                  "eventfd takes a write");
            reader.join();
        }
    }
};

Child::Child(std::unique_ptr<State> state) : state_(std::move(state)) {}
Child::Child(Child&&) noexcept = default;
Child& Child::operator=(Child&& other) noexcept {
    if (this != &other) {
        if (state_) stop(std::chrono::seconds(5));
        state_ = std::move(other.state_);
    }
    return *this;
}
Child::~Child() {
    if (state_) stop(std::chrono::seconds(5));
}

Result<Child> Child::spawn(ChildOptions options) {
    CHECK(!options.argv.empty(), "a child needs a program");
    std::vector<std::string> environment = merged_environment(options.extra_environment);
    ChildPlan plan;
    for (std::string& argument : options.argv) plan.argv.push_back(argument.data());
    plan.argv.push_back(nullptr);
    for (std::string& entry : environment) plan.environment.push_back(entry.data());
    plan.environment.push_back(nullptr);
    if (!options.working_directory.empty())
        plan.working_directory = options.working_directory.c_str();
    plan.new_process_group = options.new_process_group;
    plan.before_exec = &options.before_exec;
    plan.parent = ::getpid();

    auto state = std::make_unique<State>();
    state->own_group = options.new_process_group;
    int pair[2];
    FileDescriptor output_end;
    if (options.on_line) {
        if (::pipe2(pair, O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
        state->output = FileDescriptor(pair[0]);
        output_end = FileDescriptor(pair[1]);
        ::fcntl(pair[0], F_SETFL, O_NONBLOCK);
        plan.output = output_end.get();
        state->ended_event = FileDescriptor(::eventfd(0, EFD_CLOEXEC));
        if (!state->ended_event) return system_failure("cannot make an eventfd");
    }
    if (::pipe2(pair, O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
    FileDescriptor error_read(pair[0]);
    FileDescriptor error_write(pair[1]);
    plan.error_pipe = error_write.get();

    int fork_error = 0;
    state->pid = Spawner::instance().run([&plan, &fork_error] {
        const pid_t pid = ::fork();
        if (pid == 0) become_child(plan);
        if (pid < 0) fork_error = errno;
        return pid;
    });
    if (state->pid < 0)
        return system_failure(fmt::format("cannot start {}", options.argv[0]), fork_error);
    error_write.reset();
    output_end.reset();
    int exec_error = 0;
    ssize_t n = 0;
    do {
        n = ::read(error_read.get(), &exec_error, sizeof exec_error);
    } while (n < 0 && errno == EINTR);
    if (n == sizeof exec_error) {
        state->reap();
        return system_failure(fmt::format("cannot start {}", options.argv[0]), exec_error);
    }
    state->pidfd = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, state->pid, 0)));
    if (options.on_line)
        state->reader = std::thread([pipe = state->output.get(), ended = state->ended_event.get(),
                                     lines = LineSplitter(std::move(options.on_line))]() mutable {
            read_output(pipe, ended, std::move(lines));
        });
    Child child(std::move(state));
    if (!child.state_->pidfd) {
        auto refused = system_failure(fmt::format("cannot watch {}", options.argv[0]));
        ::kill(child.state_->pid, SIGKILL);
        child.state_->reap();
        return refused;
    }
    return child;
}

pid_t Child::pid() const { return state_->pid; }

bool Child::running() { return !wait(std::chrono::milliseconds(0)).has_value(); }

std::optional<ExitStatus> Child::wait(std::chrono::milliseconds timeout) {
    if (state_->status) return state_->status;
    const auto end = std::chrono::steady_clock::now() + timeout;
    pollfd polled{state_->pidfd.get(), POLLIN, 0};
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now())
                .count();
        const int step = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
        const int n = ::poll(&polled, 1, step);
        if (n > 0) break;
        if (n == 0 && step == 0) return std::nullopt;
    }
    state_->reap();
    return state_->status;
}

void Child::send_signal(int signal) {
    if (!state_->status) ::kill(state_->pid, signal);
}

ExitStatus Child::stop(std::chrono::milliseconds grace) {
    if (auto ended = wait(std::chrono::milliseconds(0))) return *ended;
    send_signal(SIGTERM);
    if (auto ended = wait(grace)) return *ended;
    ::kill(state_->own_group ? -state_->pid : state_->pid, SIGKILL);
    // SIGKILL cannot be refused; a process in uninterruptible I/O ends when the I/O does.
    for (;;)
        if (auto ended = wait(std::chrono::hours(1))) return *ended;
}

Result<std::string> run_command(std::vector<std::string> argv, std::chrono::milliseconds timeout,
                                std::size_t max_output_bytes) {
    const std::string program = argv.empty() ? std::string() : argv[0];
    std::string output;
    ChildOptions options;
    options.argv = std::move(argv);
    options.on_line = [&output, max_output_bytes](std::string_view line) {
        if (output.size() + line.size() + 1 > max_output_bytes) return;
        output += line;
        output += '\n';
    };
    GOLDLINK_TRY_ASSIGN(Child child, Child::spawn(std::move(options)));
    const auto ended = child.wait(timeout);
    if (!ended) {
        child.stop(std::chrono::seconds(2));
        return failure(ErrorKind::timeout,
                       fmt::format("{} did not end within {} s", program, timeout.count() / 1000));
    }
    if (ended->code != 0)
        return failure(ErrorKind::io, fmt::format("{} {}: {}", program, ended->describe(),
                                                  output.size() > kQuotedBytes
                                                      ? output.substr(output.size() - kQuotedBytes)
                                                      : output));
    return output;
}

}  // namespace goldlink
