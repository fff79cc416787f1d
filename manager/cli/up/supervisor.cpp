#include "manager/cli/up/supervisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <future>
#include <mutex>

#include "common/check.hpp"
#include "common/log.hpp"

namespace goldlink::up {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTickWhileStarting{50};
constexpr std::chrono::milliseconds kTick{250};
constexpr unsigned kStartAttempts = 3;
constexpr std::chrono::milliseconds kFirstPause{200};
// How long a service waits for those it needs: they may never come, and it has something to say.
constexpr std::chrono::seconds kNeedsPatience{10};
// A service that ran this long counts as having worked: the next end begins anew at kFirstPause.
constexpr std::chrono::seconds kHealthyAfter{30};
constexpr std::chrono::seconds kSayStillWaitingEvery{10};
constexpr std::size_t kLastWords = 6;

sigset_t stop_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
    return set;
}

// The signal that came within `limit`, or 0.
int wait_for_signal(std::chrono::milliseconds limit) {
    const sigset_t set = stop_signals();
    const timespec wait{limit.count() / 1000, limit.count() % 1000 * 1'000'000};
    const int signal = ::sigtimedwait(&set, nullptr, &wait);
    return std::max(signal, 0);
}

// What a child wrote; filled by the child's reader thread.
struct Output {
    std::mutex mutex;
    std::deque<std::string> last_lines;
    bool said_ready = false;

    void take(std::string_view line, const std::string& prefix) {
        const std::lock_guard lock(mutex);
        if (line == "ready" || line.starts_with("ready ")) {
            said_ready = true;
            return;
        }
        last_lines.emplace_back(line);
        if (last_lines.size() > kLastWords) last_lines.pop_front();
        // One write a line, so that lines of several children do not mix.
        const auto text = fmt::format("{}{}\n", prefix, line);
        std::fwrite(text.data(), 1, text.size(), stderr);
    }
    bool ready() {
        const std::lock_guard lock(mutex);
        return said_ready;
    }
    std::string last_words() {
        const std::lock_guard lock(mutex);
        std::string text;
        for (const auto& line : last_lines) text += "\n  " + line;
        return text.empty() ? "\n  (it wrote nothing)" : text;
    }
};

}  // namespace

struct Supervisor::Running {
    Service service;
    std::shared_ptr<Output> output;  // outlives the child, whose reader writes to it
    std::optional<Child> child;
    std::unique_ptr<Liveness> liveness;
    std::atomic<bool> stop_preparing{false};
    std::future<Result<ChildOptions>> preparing;  // valid while that runs
    ProcessId id;
    bool ready = false;
    bool ever_ready = false;
    bool hung = false;  // and was killed for that
    unsigned failures = 0;
    std::string trouble;  // why it last ended or did not start; "" once it is ready
    Clock::time_point started_at;
    Clock::time_point next_start;
    Clock::time_point said_waiting_at;
};

std::chrono::milliseconds restart_pause(unsigned failures, Ended how) {
    const std::chrono::milliseconds longest{how == Ended::killed    ? 1000
                                            : how == Ended::serving ? 2000
                                                                    : 10'000};
    auto pause = kFirstPause;
    for (unsigned i = 1; i < failures && pause < longest; ++i) pause *= 2;
    return std::min(pause, longest);
}

void block_stop_signals() {
    const sigset_t set = stop_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
}

Supervisor::Supervisor(std::vector<Service> services, SupervisorHooks hooks, bool give_up,
                       AnswerLimits limits)
    : hooks_(std::move(hooks)), give_up_(give_up) {
    for (auto& service : services) {
        services_.push_back(std::make_unique<Running>());
        Running& running = *services_.back();
        running.service = std::move(service);
        if (running.service.ask)
            running.liveness =
                std::make_unique<Liveness>(running.service.name, running.service.ask, limits);
    }
}

Supervisor::~Supervisor() { stop_all(); }

Result<> Supervisor::run() {
    began_ = Clock::now();
    Result<> outcome;
    for (;;) {
        outcome = start_what_can();
        for (auto& running : services_)
            if (outcome) outcome = look_after(*running);
        if (outcome) tell_changes();
        if (outcome && !was_ready_ && all_ready()) {
            was_ready_ = true;
            outcome = hooks_.all_ready();
        }
        hooks_.tick();
        if (!outcome) break;
        const auto pause = settled() ? kTick : kTickWhileStarting;
        if (const int signal = wait_for_signal(pause); signal != 0) {
            log::info("stopping, asked by {}",
                      signal == SIGINT ? "Ctrl-C (SIGINT)" : ::strsignal(signal));
            break;
        }
    }
    hooks_.stopping();
    stop_all();
    return outcome;
}

// Nothing is about to change within the next moments: all serve, or wait for their next try.
bool Supervisor::settled() const {
    return std::ranges::all_of(services_, [now = Clock::now()](const auto& running) {
        return running->ready || (!running->child && !running->preparing.valid() &&
                                  running->next_start > now + kTick);
    });
}

bool Supervisor::may_start(const Running& running) const {
    if (was_ready_ || Clock::now() - began_ >= kNeedsPatience) return true;
    return std::ranges::all_of(running.service.needs, [&](const std::string& need) {
        const Running& needed = named(need);
        return needed.ready || (needed.failures > 0 && !give_up_);
    });
}

Result<> Supervisor::start_what_can() {
    const auto now = Clock::now();
    for (auto& running : services_) {
        if (running->child) continue;
        if (running->preparing.valid()) {
            if (running->preparing.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
                continue;
            auto prepared = running->preparing.get();
            if (prepared)
                GOLDLINK_TRY(spawn(*running, std::move(*prepared)));
            else
                GOLDLINK_TRY(failed(*running, prepared.error().message, Ended::starting));
            continue;
        }
        if (now >= running->next_start && may_start(*running)) GOLDLINK_TRY(start(*running));
    }
    return {};
}

Result<> Supervisor::start(Running& running) {
    if (!running.service.prepare) return spawn(running, running.service.child);
    running.preparing = std::async(
        std::launch::async, [&running] { return running.service.prepare(running.stop_preparing); });
    return {};
}

Result<> Supervisor::spawn(Running& running, ChildOptions options) {
    running.output = std::make_shared<Output>();
    options.on_line = [output = running.output, prefix = running.service.line_prefix](
                          std::string_view line) { output->take(line, prefix); };
    auto child = Child::spawn(std::move(options));
    if (!child) return failed(running, child.error().message, Ended::starting);
    running.child = std::move(*child);
    running.id = {running.child->pid(), start_ticks(running.child->pid())};
    running.ready = false;
    running.hung = false;
    running.started_at = running.said_waiting_at = Clock::now();
    record();
    return {};
}

// It has ended, or could not be started: when to try again, or, in a first start, why no more.
Result<> Supervisor::failed(Running& running, std::string why, Ended how) {
    ++running.failures;
    running.trouble = std::move(why);
    if (give_up_ && !was_ready_ && running.failures >= kStartAttempts)
        return failure(
            ErrorKind::unavailable,
            fmt::format(
                "{} does not start: it was tried {} times, and at last it {}; its last words:{}",
                running.service.name, kStartAttempts, running.trouble,
                running.output ? running.output->last_words() : ""));
    const auto pause = restart_pause(running.failures, how);
    running.next_start = Clock::now() + pause;
    log::error("{} {}; starting it again in {:.1f} s", running.service.name, running.trouble,
               std::chrono::duration<double>(pause).count());
    return {};
}

Result<> Supervisor::look_after(Running& running) {
    if (!running.child) return {};
    const auto now = Clock::now();
    auto& service = running.service;
    if (running.child->running()) {
        if (running.ready) {
            const auto why = running.liveness ? running.liveness->hung() : std::nullopt;
            if (!why || std::exchange(running.hung, true)) return {};
            log::error("{} (pid {}) {}: killing it", service.name, running.id.pid, *why);
            running.child->send_signal(SIGKILL);
            return {};
        }
        running.ready = (!service.says_ready || running.output->ready()) &&
                        (!service.ready || service.ready(running.child->pid()));
        if (running.ready) {
            if (running.failures > 0 || running.ever_ready)
                log::info("{} serves again", service.name);
            running.ever_ready = true;
            running.trouble.clear();
            if (running.liveness) running.liveness->watch(running.id.pid);
        } else if (now - running.said_waiting_at >= kSayStillWaitingEvery) {
            running.said_waiting_at = now;
            log::info("still waiting for {}", service.name);
        }
        return {};
    }
    if (running.liveness) running.liveness->rest();
    const auto status = *running.child->wait(std::chrono::milliseconds(0));
    const bool was_serving = running.ready;
    running.child.reset();
    running.ready = false;
    record();
    if (was_serving && now - running.started_at >= kHealthyAfter) running.failures = 0;
    return failed(running, running.hung ? "hung and was killed" : status.describe(),
                  status.signal != 0 ? Ended::killed
                  : was_serving      ? Ended::serving
                                     : Ended::starting);
}

void Supervisor::tell_changes() {
    bool served = true;
    std::string waits;
    for (const auto& running : services_) {
        if (running->ready) continue;
        served = served && !running->service.for_clients;
        // Its first line alone: what to do about it is in the log.
        const std::string why = running->trouble.substr(0, running->trouble.find('\n'));
        waits += fmt::format("{}{} {}", waits.empty() ? "" : "; ", running->service.name,
                             why.empty() ? "is starting" : why + ", it is tried again");
    }
    std::string text = waits.empty() ? "all parts serve"
                       : served      ? fmt::format("clients are served; {}", waits)
                                     : waits;
    if (text == told_) return;
    told_ = text;
    hooks_.changed(served, text);
}

void Supervisor::stop_one(Running& running) {
    const auto wait = [&](std::chrono::milliseconds grace) {
        const auto end = Clock::now() + grace;
        std::optional<ExitStatus> ended;
        while (!(ended = running.child->wait(kTick)) && Clock::now() < end) hooks_.tick();
        return ended.has_value();
    };
    const auto& service = running.service;
    running.child->send_signal(service.stop_signal);
    if (!wait(service.stop_grace) && service.stop_signal != SIGTERM) {
        running.child->send_signal(SIGTERM);
        wait(service.stop_grace);
    }
    const auto status = running.child->stop(std::chrono::milliseconds(0));
    if (status.code != 0) log::warn("{} {} while it was stopped", service.name, status.describe());
    running.child.reset();
}

void Supervisor::stop_all() {
    for (const auto& running : services_) {
        running->stop_preparing = true;
        running->liveness.reset();
    }
    for (auto running = services_.rbegin(); running != services_.rend(); ++running) {
        if ((*running)->preparing.valid()) (*running)->preparing.wait();
        if ((*running)->child) stop_one(**running);
    }
    record();
}

void Supervisor::record() const {
    std::vector<ChildRecord> records;
    for (const auto& running : services_)
        if (running->child) records.push_back({running->service.name, running->id});
    hooks_.children_changed(records);
}

bool Supervisor::all_ready() const {
    return std::ranges::all_of(services_, [](const auto& running) { return running->ready; });
}

const Supervisor::Running& Supervisor::named(const std::string& name) const {
    const auto found =
        std::ranges::find_if(services_, [&](const auto& r) { return r->service.name == name; });
    CHECK(found != services_.end(), "a service needs only services of the list");
    return **found;
}

}  // namespace goldlink::up
