// TaskQueue: long work with progress: imports, commits, verifications, exports. Runs on a few
// threads of its own; every task has the caller's id, and adding the same id again is the same
// task.
//
// Requests and results are persisted: what a restart interrupted runs again from its start, the
// last kKeepEnded results stay readable. A gc alone is forgotten: what it was told to collect may
// be wanted by now, so whoever asked has to look anew. Threads: any that may block.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/event_log.hpp"
#include "common/problems.hpp"
#include "target/control/state_file.hpp"
#include "target/store/image_store.hpp"

namespace boost::json {
class object;
}

namespace goldlink::control {

struct TaskRequest {
    std::string id;  // a UUID
    // "import", "commit", "save", "rebase", "salvage", "check", "grow", "verify", "export", "gc"
    std::string kind;
    std::map<std::string, std::string> arguments;
};

class TaskQueue {
  public:
    static constexpr std::size_t kKeepEnded = 500;
    static constexpr std::size_t kMaxWaiting = 1000;

    // Does one task; returns the JSON text of the members that its report gains
    // ("\"version\":{...}").
    using Runner =
        std::function<Result<std::string>(const TaskRequest& request, store::Progress& progress)>;

    // Asked as a task begins; what it said stands in the task's View.
    using Stamp = std::function<std::uint64_t()>;

    TaskQueue(std::filesystem::path file, Runner runner, EventLog& events, unsigned threads = 2,
              Stamp stamp = nullptr);
    ~TaskQueue();  // stop()

    // Before start. A file that cannot be understood is set aside: what it held is forgotten, and
    // whoever waits for a task of it is told that it is not known.
    void load(Problems& problems);
    // Until then tasks that were loaded wait, and new ones are refused as `why_not` says.
    void start();
    void set_why_not(std::function<std::string()> why_not) { why_not_ = std::move(why_not); }
    // Running tasks are told to stop; they are queued again by the next load().
    void stop();

    // The task's report as JSON; of the existing task when the id is known already. conflict when
    // it is known for something else.
    Result<std::string> add(TaskRequest request);
    std::optional<std::string> report(const std::string& id) const;
    std::vector<std::string> reports() const;
    struct View {
        const TaskRequest& request;
        bool running = false, ended = false;  // neither: it waits
        std::uint64_t stamp = 0;              // of one that is running
        const std::string& result;            // of one that ended well
    };
    // All of them at one moment; `visit` must not call the queue.
    void for_each(const std::function<void(const View&)>& visit) const;
    // Cancels a task that has not ended, forgets one that has.
    Result<> remove(const std::string& id);

  private:
    enum class State { waiting, running, done, failed, cancelled };
    struct Task {
        TaskRequest request;
        State state = State::waiting;
        store::Progress progress;
        bool cancelled = false;  // by remove(), not by stop()
        std::string result;
        Error error;
        std::uint64_t order = 0;
        std::uint64_t stamp = 0;
    };
    using TaskPointer = std::shared_ptr<Task>;

    static std::string_view name_of(State state);
    static Result<TaskPointer> parse_task(const boost::json::object& o);
    Result<> take_file(const std::string& content);
    void run();
    void finish(const TaskPointer& task, Result<std::string> outcome);
    std::string report_of(const Task& task) const;
    std::string snapshot() const;
    void forget_oldest();
    void save_or_log();

    Runner runner_;
    Stamp stamp_;
    std::function<std::string()> why_not_;
    EventLog& events_;
    unsigned thread_count_;
    mutable std::mutex mutex_;  // guards all below but threads_ and file_
    std::condition_variable changed_;
    std::map<std::string, TaskPointer> tasks_;
    std::deque<TaskPointer> waiting_;
    std::uint64_t next_order_ = 0;
    bool started_ = false, stopping_ = false;
    std::vector<std::thread> threads_;
    std::filesystem::path path_;
    StateFile file_;
};

}  // namespace goldlink::control
