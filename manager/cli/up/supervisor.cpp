#include "manager/cli/up/supervisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
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
constexpr std::chrono::milliseconds kLongestPause{10'000};
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
    ProcessId id;
    bool ready = false;
    unsigned failures = 0;
    Clock::time_point started_at;
    Clock::time_point next_start;
    Clock::time_point said_waiting_at;
};

std::chrono::milliseconds restart_pause(unsigned failures) {
    auto pause = kFirstPause;
    for (unsigned i = 1; i < failures && pause < kLongestPause; ++i) pause *= 2;
    return std::min(pause, kLongestPause);
}

void block_stop_signals() {
    const sigset_t set = stop_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
}

Supervisor::Supervisor(std::vector<Service> services,
                       std::function<void(const std::vector<ChildRecord>&)> on_change)
    : on_change_(std::move(on_change)) {
    for (auto& service : services) {
        services_.push_back(std::make_unique<Running>());
        services_.back()->service = std::move(service);
    }
}

Supervisor::~Supervisor() { stop_all(); }

Result<> Supervisor::run(const std::function<Result<>()>& on_ready) {
    Result<> outcome;
    for (;;) {
        outcome = start_what_can();
        for (auto& running : services_)
            if (outcome) outcome = look_after(*running);
        if (outcome && !was_ready_ && all_ready()) {
            was_ready_ = true;
            outcome = on_ready();
        }
        if (!outcome) break;
        const bool settled = was_ready_ && all_ready();
        if (const int signal = wait_for_signal(settled ? kTick : kTickWhileStarting); signal != 0) {
            log::info("stopping, asked by {}",
                      signal == SIGINT ? "Ctrl-C (SIGINT)" : ::strsignal(signal));
            break;
        }
    }
    stop_all();
    return outcome;
}

Result<> Supervisor::start_what_can() {
    const auto now = Clock::now();
    for (auto& running : services_) {
        if (running->child || now < running->next_start) continue;
        const bool can = std::ranges::all_of(running->service.needs, [&](const std::string& need) {
            return was_ready_ || named(need).ready;
        });
        if (can) GOLDLINK_TRY(start(*running));
    }
    return {};
}

Result<> Supervisor::start(Running& running) {
    const auto now = Clock::now();
    if (running.service.before_start)
        if (auto cleared = running.service.before_start(); !cleared) {
            if (!was_ready_) return cleared;
            ++running.failures;
            running.next_start = now + restart_pause(running.failures);
            log::error("{} cannot be restarted: {}", running.service.name, cleared.error().message);
            return {};
        }
    running.output = std::make_shared<Output>();
    ChildOptions options = running.service.child;
    options.on_line = [output = running.output, prefix = running.service.line_prefix](
                          std::string_view line) { output->take(line, prefix); };
    auto child = Child::spawn(std::move(options));
    if (!child) {
        if (!was_ready_) return Failure(std::move(child).error());
        ++running.failures;
        running.next_start = now + restart_pause(running.failures);
        log::error("{} cannot be restarted: {}", running.service.name, child.error().message);
        return {};
    }
    running.child = std::move(*child);
    running.id = {running.child->pid(), start_ticks(running.child->pid())};
    running.ready = false;
    running.started_at = now;
    running.said_waiting_at = now;
    record();
    return {};
}

Result<> Supervisor::look_after(Running& running) {
    if (!running.child) return {};
    const auto now = Clock::now();
    auto& service = running.service;
    if (running.child->running()) {
        if (running.ready) return {};
        running.ready = (!service.says_ready || running.output->ready()) &&
                        (!service.ready || service.ready(running.child->pid()));
        if (running.ready) {
            if (was_ready_) log::info("{} serves again", service.name);
        } else if (now - running.said_waiting_at >= kSayStillWaitingEvery) {
            running.said_waiting_at = now;
            log::info("still waiting for {}", service.name);
        }
        return {};
    }
    const auto status = *running.child->wait(std::chrono::milliseconds(0));
    const bool was_serving = running.ready;
    running.child.reset();
    running.ready = false;
    record();
    if (was_serving && now - running.started_at >= kHealthyAfter) running.failures = 0;
    ++running.failures;
    if (!was_ready_ && running.failures >= kStartAttempts)
        return failure(
            ErrorKind::unavailable,
            fmt::format(
                "{} does not start: it was tried {} times, and at last it {}; its last words:{}",
                service.name, kStartAttempts, status.describe(), running.output->last_words()));
    const auto pause = restart_pause(running.failures);
    running.next_start = now + pause;
    log::error("{} {}; starting it again in {:.1f} s", service.name, status.describe(),
               std::chrono::duration<double>(pause).count());
    return {};
}

void Supervisor::stop_all() {
    for (auto running = services_.rbegin(); running != services_.rend(); ++running) {
        auto& child = (*running)->child;
        if (!child) continue;
        const auto& service = (*running)->service;
        if (service.stop_signal != SIGTERM) {
            child->send_signal(service.stop_signal);
            static_cast<void>(child->wait(service.stop_grace));
        }
        const auto status = child->stop(service.stop_grace);
        if (status.code != 0)
            log::warn("{} {} while it was stopped", service.name, status.describe());
        child.reset();
    }
    record();
}

void Supervisor::record() const {
    std::vector<ChildRecord> records;
    for (const auto& running : services_)
        if (running->child) records.push_back({running->service.name, running->id});
    on_change_(records);
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
