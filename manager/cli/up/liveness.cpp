#include "manager/cli/up/liveness.hpp"

#include <fmt/format.h>

#include "common/http/client.hpp"
#include "common/http/live.hpp"
#include "common/log.hpp"

namespace goldlink::up {
namespace {

using Clock = std::chrono::steady_clock;

// We were this much later than we wanted to be: something stopped the whole machine.
constexpr std::chrono::milliseconds kLate{1000};

}  // namespace

Liveness::Liveness(std::string name, Ask ask, AnswerLimits limits)
    : name_(std::move(name)), ask_(std::move(ask)), limits_(limits), record_(limits) {
    thread_ = std::thread([this] { run(); });
}

Liveness::~Liveness() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Liveness::watch(pid_t pid) {
    {
        const std::lock_guard lock(mutex_);
        pid_ = pid;
        record_ = AnswerRecord(limits_);
        record_.answered(Clock::now());
    }
    changed_.notify_all();
}

void Liveness::rest() { watch(0); }

std::optional<std::string> Liveness::hung() const {
    const std::lock_guard lock(mutex_);
    if (pid_ == 0 || !record_.hung()) return std::nullopt;
    return fmt::format("has not answered for {} s ({})", record_.silent_for().count() / 1000, why_);
}

void Liveness::run() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
        if (pid_ == 0) {
            changed_.wait(lock, [this] { return ending_ || pid_ != 0; });
            sleepers_.clear();
            continue;
        }
        const pid_t pid = pid_;
        const auto due = Clock::now() + record_.next_in();
        if (changed_.wait_until(lock, due, [&] { return ending_ || pid_ != pid; })) continue;
        const bool late = Clock::now() - due > kLate;
        lock.unlock();
        ask_once(pid, late);
        lock.lock();
    }
}

void Liveness::ask_once(pid_t pid, bool late) {
    const auto asked = Clock::now();
    const auto answer = ask_(limits_.answer_within);
    const auto now = Clock::now();
    late = late || now - asked > limits_.answer_within + kLate;
    const DiskSleepers sleepers = answer ? DiskSleepers() : disk_sleepers(pid);
    const bool disk = !answer && waited_all_the_time(sleepers_, sleepers);
    sleepers_ = sleepers;
    if (disk && !said_disk_)
        log::warn(
            "{} (pid {}) does not answer while it waits for a disk that does not either; it is not "
            "restarted for that. The kernel's log ('dmesg') names the disk",
            name_, pid);
    said_disk_ = disk;
    const std::lock_guard lock(mutex_);
    if (pid_ != pid) return;
    if (answer) return record_.answered(now);
    why_ = answer.error().message;
    record_.missed(now, !late && !disk);
}

Result<> ask_control(const std::string& control, std::chrono::milliseconds limit) {
    http::Client client(control);
    http::ClientRequest request;
    request.target = "/live";
    request.timeout = limit;
    request.max_response_bytes = 64 << 10;
    GOLDLINK_TRY_ASSIGN(const auto answer, client.send(request));
    if (answer.status == 503 && answer.body.find(http::kNotLive) != std::string::npos)
        return failure(ErrorKind::unavailable, answer.body);
    return {};
}

}  // namespace goldlink::up
