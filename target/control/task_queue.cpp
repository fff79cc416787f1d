#include "target/control/task_queue.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;
constexpr std::int64_t kFormat = 1;

ErrorKind parse_error_kind(std::string_view text) {
    for (int i = 0; i <= static_cast<int>(ErrorKind::cancelled); ++i)
        if (to_string(static_cast<ErrorKind>(i)) == text) return static_cast<ErrorKind>(i);
    return ErrorKind::io;
}

}  // namespace

TaskQueue::TaskQueue(std::filesystem::path file, Runner runner, EventLog& events, unsigned threads,
                     Stamp stamp)
    : runner_(std::move(runner)),
      stamp_(std::move(stamp)),
      events_(events),
      thread_count_(threads),
      path_(file),
      file_(std::move(file), [this] { return snapshot(); }) {}

TaskQueue::~TaskQueue() { stop(); }

std::string_view TaskQueue::name_of(State state) {
    constexpr std::string_view kNames[] = {"waiting", "running", "done", "failed", "cancelled"};
    return kNames[static_cast<std::size_t>(state)];
}

std::string TaskQueue::snapshot() const {
    json::array array;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, task] : tasks_) {
        json::object o{{"id", id}, {"kind", task->request.kind}, {"order", task->order}};
        json::object arguments;
        for (const auto& [name, value] : task->request.arguments) arguments[name] = value;
        o["arguments"] = std::move(arguments);
        o["state"] = task->state == State::running ? name_of(State::waiting) : name_of(task->state);
        o["done_bytes"] = task->progress.done_bytes.load();
        o["total_bytes"] = task->progress.total_bytes.load();
        o["result"] = task->result;
        o["error_kind"] = to_string(task->error.kind);
        o["error_message"] = task->error.message;
        array.push_back(std::move(o));
    }
    return json::serialize(json::object{{"format", kFormat}, {"tasks", std::move(array)}});
}

void TaskQueue::load(Problems& problems) {
    load_or_set_aside(
        {path_, kMaxFileBytes,
         "imports and other tasks of before this start are forgotten; the manager "
         "begins anew those that it still wants"},
        [this](const std::string& content) { return take_file(content); }, problems);
}

Result<TaskQueue::TaskPointer> TaskQueue::parse_task(const json::object& o) {
    auto task = std::make_shared<Task>();
    GOLDLINK_TRY_ASSIGN(task->request.id, json::string_field(o, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(task->request.kind, json::string_field(o, "kind", 1, 16));
    GOLDLINK_TRY_ASSIGN(const auto order, json::int_field(o, "order", 0, INT64_MAX));
    task->order = static_cast<std::uint64_t>(order);
    GOLDLINK_TRY_ASSIGN(const json::object arguments, json::object_field(o, "arguments"));
    for (const auto& item : arguments) {
        GOLDLINK_TRY_ASSIGN(task->request.arguments[std::string(item.key())],
                            json::string_field(arguments, item.key(), 0, 8192));
    }
    GOLDLINK_TRY_ASSIGN(const auto state, json::string_field(o, "state", 1, 16));
    for (const State ended : {State::done, State::failed, State::cancelled})
        if (state == name_of(ended)) task->state = ended;
    GOLDLINK_TRY_ASSIGN(const auto done, json::int_field(o, "done_bytes", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(const auto total, json::int_field(o, "total_bytes", 0, INT64_MAX));
    if (task->state != State::waiting) task->progress.done_bytes = static_cast<std::uint64_t>(done);
    task->progress.total_bytes = static_cast<std::uint64_t>(total);
    GOLDLINK_TRY_ASSIGN(task->result, json::string_field(o, "result", 0, kMaxFileBytes));
    GOLDLINK_TRY_ASSIGN(const auto kind, json::string_field(o, "error_kind", 1, 16));
    GOLDLINK_TRY_ASSIGN(task->error.message, json::string_field(o, "error_message", 0, 1 << 20));
    task->error.kind = parse_error_kind(kind);
    return task;
}

Result<> TaskQueue::take_file(const std::string& content) {
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(content));
    GOLDLINK_TRY(check_format(o, kFormat));
    GOLDLINK_TRY_ASSIGN(const json::array items,
                        json::array_field(o, "tasks", kMaxWaiting + kKeepEnded + 1));
    std::map<std::uint64_t, TaskPointer> by_order;
    for (const json::value& item : items) {
        if (!item.is_object()) return failure(ErrorKind::corrupt, "a task is no object");
        GOLDLINK_TRY_ASSIGN(TaskPointer task, parse_task(item.get_object()));
        by_order.emplace(task->order, std::move(task));
    }
    const std::lock_guard lock(mutex_);
    for (auto& [order, task] : by_order) {
        next_order_ = order + 1;
        if (task->state == State::waiting && task->request.kind == "gc") {
            log::info("gc {} was interrupted: whoever asked for it looks anew", task->request.id);
            continue;
        }
        if (task->state == State::waiting) {
            log::info("{} {} was interrupted and starts again", task->request.kind,
                      task->request.id);
            waiting_.push_back(task);
        }
        tasks_.emplace(task->request.id, task);
    }
    return {};
}

void TaskQueue::start() {
    {
        const std::lock_guard lock(mutex_);
        started_ = true;
    }
    for (unsigned i = 0; i < thread_count_; ++i) threads_.emplace_back([this] { run(); });
}

void TaskQueue::stop() {
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(stopping_, true)) return;
        for (const auto& [id, task] : tasks_)
            if (task->state == State::running) task->progress.cancel = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

void TaskQueue::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (stopping_) return;
        const TaskPointer task = std::move(waiting_.front());
        waiting_.pop_front();
        if (task->state != State::waiting) continue;
        task->state = State::running;
        if (stamp_) task->stamp = stamp_();
        lock.unlock();
        auto outcome = runner_(task->request, task->progress);
        finish(task, std::move(outcome));
        lock.lock();
    }
}

void TaskQueue::finish(const TaskPointer& task, Result<std::string> outcome) {
    {
        const std::lock_guard lock(mutex_);
        if (outcome) {
            task->state = State::done;
            task->result = std::move(*outcome);
        } else if (task->cancelled) {
            task->state = State::cancelled;
            task->error = {ErrorKind::cancelled, "cancelled on request", 0};
        } else if (stopping_) {
            task->state = State::waiting;  // the next start runs it again
            return;
        } else {
            task->state = State::failed;
            task->error = std::move(outcome).error();
        }
        forget_oldest();
    }
    save_or_log();
    const std::string& kind = task->request.kind;
    if (task->state == State::failed)
        log::error("{} {} failed: {}", kind, task->request.id, task->error.message);
    else
        log::info("{} {} {}", kind, task->request.id,
                  task->state == State::done ? "is done" : "was cancelled");
    if (kind != "import" && kind != "commit" && kind != "save") return;
    json::object data{{"id", task->request.id}, {"kind", kind}};
    if (task->state != State::done) {
        data["error"] =
            json::object{{"kind", to_string(task->error.kind)}, {"message", task->error.message}};
    } else if (auto result = json::parse_object("{" + task->result + "}")) {
        for (const auto& member : *result) data[member.key()] = member.value();
    }
    events_.append(task->state == State::done ? "import_done" : "import_failed",
                   {{"link_id", nullptr},
                    {"boot_id", nullptr},
                    {"generation", nullptr},
                    {"data", std::move(data)}});
}

void TaskQueue::save_or_log() {
    if (const auto saved = file_.save(); !saved)
        log::error("the tasks are not saved: {}", saved.error().message);
}

void TaskQueue::forget_oldest() {
    for (;;) {
        std::size_t ended = 0;
        auto oldest = tasks_.end();
        for (auto it = tasks_.begin(); it != tasks_.end(); ++it) {
            if (it->second->state == State::waiting || it->second->state == State::running)
                continue;
            ++ended;
            if (oldest == tasks_.end() || it->second->order < oldest->second->order) oldest = it;
        }
        if (ended <= kKeepEnded) return;
        tasks_.erase(oldest);
    }
}

Result<std::string> TaskQueue::add(TaskRequest request) {
    if (!is_uuid(request.id))
        return failure(ErrorKind::invalid,
                       fmt::format("task id '{}' is no UUID", request.id.substr(0, 64)));
    std::string report;
    {
        const std::lock_guard lock(mutex_);
        const auto it = tasks_.find(request.id);
        if (it != tasks_.end()) {
            if (it->second->request.kind != request.kind ||
                it->second->request.arguments != request.arguments)
                return failure(
                    ErrorKind::conflict,
                    fmt::format("task {} exists and does something else; choose another id",
                                request.id));
            return report_of(*it->second);
        }
        if (!started_ && why_not_) return failure(ErrorKind::unavailable, why_not_());
        if (waiting_.size() >= kMaxWaiting)
            return failure(
                ErrorKind::exhausted,
                fmt::format("{} tasks are waiting already; wait for some to end", waiting_.size()));
        auto task = std::make_shared<Task>();
        task->request = std::move(request);
        task->order = next_order_++;
        tasks_.emplace(task->request.id, task);
        waiting_.push_back(task);
        report = report_of(*task);
    }
    if (auto saved = file_.save(); !saved)
        log::warn("a restart would forget this task: {}", saved.error().message);
    changed_.notify_all();
    return report;
}

std::string TaskQueue::report_of(const Task& task) const {
    json::object o{{"id", task.request.id}, {"kind", task.request.kind}};
    // Whoever asks sees no difference between a task that waits for its turn and one that runs.
    o["state"] = task.state == State::waiting ? name_of(State::running) : name_of(task.state);
    o["done_bytes"] = task.progress.done_bytes.load();
    o["total_bytes"] = task.progress.total_bytes.load();
    o["error"] = nullptr;
    if (!task.error.message.empty())
        o["error"] =
            json::object{{"kind", to_string(task.error.kind)}, {"message", task.error.message}};
    std::string text = json::serialize(o);
    if (!task.result.empty()) {
        text.pop_back();
        text += "," + task.result + "}";
    }
    return text;
}

std::optional<std::string> TaskQueue::report(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto it = tasks_.find(id);
    if (it == tasks_.end()) return std::nullopt;
    return report_of(*it->second);
}

std::vector<std::string> TaskQueue::reports() const {
    std::vector<std::string> all;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, task] : tasks_) all.push_back(report_of(*task));
    return all;
}

void TaskQueue::for_each(const std::function<void(const View&)>& visit) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, task] : tasks_) {
        const bool running = task->state == State::running;
        visit({task->request, running, !running && task->state != State::waiting, task->stamp,
               task->result});
    }
}

Result<> TaskQueue::remove(const std::string& id) {
    {
        const std::lock_guard lock(mutex_);
        const auto it = tasks_.find(id);
        if (it == tasks_.end()) return {};
        Task& task = *it->second;
        if (task.state == State::running) {
            task.cancelled = true;
            task.progress.cancel = true;
            return {};
        }
        if (task.state == State::waiting) {
            task.state = State::cancelled;
            task.error = {ErrorKind::cancelled, "cancelled on request", 0};
            std::erase(waiting_, it->second);
        } else {
            tasks_.erase(it);
        }
    }
    return file_.save();
}

}  // namespace goldlink::control
