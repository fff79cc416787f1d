#include "common/event_log.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/http/server.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"

namespace goldlink {
namespace {

constexpr std::size_t kMaxFileBytes = 256 << 20;
constexpr std::chrono::milliseconds kAskStep{200};
constexpr std::chrono::seconds kMaxWait{60};
// While the file cannot be written it is tried again this often, and with every event.
constexpr std::chrono::seconds kRetryEvery{2};

struct Event {
    std::uint64_t seq = 0;
    std::string text;
};

struct Stored {
    std::deque<Event> events;
    std::uint64_t last_seq = 0;
    bool clean = true;        // it ends with the mark {"closed": seq}, or is new
    std::size_t mark_at = 0;  // where that mark begins
    std::size_t good_lines = 0;
    std::size_t bad_lines = 0;  // beside a last one that a killed writer tore
};

Stored parse_file(std::string_view content, std::size_t keep) {
    Stored stored;
    const char* const begin = content.data();
    while (!content.empty()) {
        const std::size_t end = content.find('\n');
        std::string line = as_utf8(std::string(content.substr(0, end)));
        const char* const line_begin = content.data();
        content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
        stored.clean = false;
        const auto parsed = json::parse_object(line);
        if (!parsed || end == std::string_view::npos) {
            if (!content.empty()) ++stored.bad_lines;
            continue;
        }
        if (const auto closed = json::int_field(*parsed, "closed", 0, INT64_MAX)) {
            stored.last_seq = std::max(stored.last_seq, static_cast<std::uint64_t>(*closed));
            stored.clean = true;
            stored.mark_at = static_cast<std::size_t>(line_begin - begin);
            ++stored.good_lines;
            continue;
        }
        const auto seq = json::int_field(*parsed, "seq", 1, INT64_MAX);
        ++(seq ? stored.good_lines : stored.bad_lines);
        if (!seq || static_cast<std::uint64_t>(*seq) <= stored.last_seq) continue;
        stored.last_seq = static_cast<std::uint64_t>(*seq);
        stored.events.push_back({stored.last_seq, std::move(line)});
        if (stored.events.size() > keep) stored.events.pop_front();
    }
    if (!stored.clean) stored.last_seq += EventLog::kCrashGap;
    return stored;
}

constexpr std::string_view kWithout =
    "events that it alone holds are not shown any more, numbers go on after a gap";

}  // namespace

std::string rfc3339_now() {
    const auto now = std::chrono::system_clock::now();
    const auto millis =
        std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", parts, millis % 1000);
}

struct EventLog::State {
    std::filesystem::path path;
    std::size_t keep = kKeep;

    mutable std::mutex mutex;
    std::condition_variable appended;  // for waiters
    std::condition_variable queued;    // for the writer
    std::deque<Event> events;          // guarded by mutex, as all below
    std::uint64_t last_seq = 0;
    std::string unwritten;
    std::size_t unwritten_lines = 0;
    bool closed = false;
    bool ending = false;
    std::string failing;  // why the file cannot be written; "": it can

    std::thread writer;
    std::size_t file_lines = 0;  // of the writer, as all below
    FileDescriptor file;

    void run_writer();
    void note(const Result<>& written);
    Result<> write_behind(const std::string& text, std::size_t lines, bool whole);
    Result<> rewrite();
    std::string page_locked(std::uint64_t after) const;
};

void EventLog::State::run_writer() {
    std::unique_lock lock(mutex);
    for (;;) {
        const auto has_work = [this] { return ending || !unwritten.empty(); };
        if (failing.empty())
            queued.wait(lock, has_work);
        else
            queued.wait_for(lock, kRetryEvery, has_work);
        const bool whole = !failing.empty();
        const bool last = ending && unwritten.empty();
        const std::string text =
            last ? fmt::format("{{\"closed\":{}}}\n", last_seq) : std::exchange(unwritten, {});
        const std::size_t lines = last ? 0 : std::exchange(unwritten_lines, 0);
        lock.unlock();
        if (last && whole) note(rewrite());
        if (last) {
            if (failing.empty() && write_behind(text, 0, false)) ::fsync(file.get());
            return;
        }
        note(write_behind(text, lines, whole));
        lock.lock();
    }
}

void EventLog::State::note(const Result<>& written) {
    const std::lock_guard lock(mutex);
    if (!written && failing.empty())
        log::error("events are kept in memory only, and written when that works again: {}",
                   written.error().message);
    if (written && !failing.empty())
        log::info("{} is written again, with the last {} events", path.string(), events.size());
    failing = written ? std::string() : written.error().message;
}

// `whole`: the file lacks something, so it is made anew from memory.
Result<> EventLog::State::write_behind(const std::string& text, std::size_t lines, bool whole) {
    if (file_lines + lines > 2 * keep || whole) return rewrite();
    std::string_view rest = text;
    while (!rest.empty()) {
        const ssize_t n = ::write(file.get(), rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failure(fmt::format("cannot write {}", path.string()));
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
    file_lines += lines;
    return {};
}

Result<> EventLog::State::rewrite() {
    std::string content;
    std::size_t lines = 0;
    {
        const std::lock_guard lock(mutex);
        for (const Event& event : events) content += event.text + "\n";
        lines = events.size();
        unwritten.clear();
        unwritten_lines = 0;
    }
    GOLDLINK_TRY(replace_file(path, content, 0640));
    FileDescriptor opened(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!opened) return system_failure(fmt::format("cannot open {}", path.string()));
    file = std::move(opened);
    file_lines = lines;
    return {};
}

EventLog::EventLog(std::unique_ptr<State> state) : state_(std::move(state)) {}

std::unique_ptr<EventLog> EventLog::open(const std::filesystem::path& file, std::size_t keep,
                                         Problems* problems) {
    auto state = std::make_unique<State>();
    state->path = file;
    state->keep = keep;
    Problems unheard;
    Problems& told = problems == nullptr ? unheard : *problems;
    const auto content = read_file(file, kMaxFileBytes);
    Stored stored = parse_file(content ? *content : std::string_view(), keep);
    const bool missing = !content && content.error().kind == ErrorKind::not_found;
    if (!content && !missing) {
        set_aside(file, content.error().message, std::string(kWithout), told);
    } else if (stored.bad_lines > 0 || (stored.good_lines == 0 && !stored.clean)) {
        set_aside(file,
                  stored.good_lines == 0
                      ? std::string("it holds no events")
                      : fmt::format("{} of its lines are no events", stored.bad_lines),
                  std::string(kWithout), told);
    }
    state->events = std::move(stored.events);
    state->last_seq = stored.last_seq;
    // Written anew: without the torn line, and without the mark of a clean end. Where the disk is
    // full the mark still has to go, or the next start would give this run's numbers again.
    const auto written = state->rewrite();
    state->note(written);
    if (!written && stored.clean && content &&
        ::truncate(file.c_str(), static_cast<off_t>(stored.mark_at)) != 0)
        log::warn("{} cannot be shortened: {}", file.string(),
                  system_failure("truncate").value().message);
    State* const raw = state.get();
    state->writer = std::thread([raw] { raw->run_writer(); });
    return std::unique_ptr<EventLog>(new EventLog(std::move(state)));
}

std::vector<Problem> EventLog::problems() const {
    const std::lock_guard lock(state_->mutex);
    if (state_->failing.empty()) return {};
    return {{"storage", fmt::format("events are kept in memory only: {}", state_->failing),
             "make room on that file system, or mend it; what is in memory is then written by "
             "itself"}};
}

EventLog::~EventLog() {
    close();
    {
        const std::lock_guard lock(state_->mutex);
        state_->ending = true;
    }
    state_->queued.notify_all();
    state_->writer.join();
}

std::uint64_t EventLog::append(std::string_view kind, const boost::json::object& members) {
    boost::json::object event;
    const std::lock_guard lock(state_->mutex);
    const std::uint64_t seq = ++state_->last_seq;
    event["seq"] = seq;
    event["time"] = rfc3339_now();
    event["kind"] = kind;
    for (const auto& member : members) event[member.key()] = member.value();
    state_->events.push_back({seq, json::serialize(event)});
    if (state_->events.size() > state_->keep) state_->events.pop_front();
    state_->unwritten += state_->events.back().text + "\n";
    ++state_->unwritten_lines;
    state_->queued.notify_all();
    state_->appended.notify_all();
    return seq;
}

std::string EventLog::State::page_locked(std::uint64_t after) const {
    if (after > last_seq) after = 0;
    auto it =
        std::upper_bound(events.begin(), events.end(), after,
                         [](std::uint64_t value, const Event& event) { return value < event.seq; });
    std::string text = "{\"events\":[";
    std::uint64_t next = after;
    for (std::size_t n = 0; it != events.end() && n < kMaxPage; ++it, ++n) {
        if (n > 0) text += ',';
        text += it->text;
        next = it->seq;
    }
    return text + fmt::format("],\"next\":{}}}", next);
}

std::string EventLog::page(std::uint64_t after) const {
    const std::lock_guard lock(state_->mutex);
    return state_->page_locked(after);
}

std::string EventLog::wait_page(std::uint64_t after, std::chrono::milliseconds timeout,
                                const std::function<bool()>& should_end) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    std::unique_lock lock(state_->mutex);
    const auto has_news = [this, after] {
        return state_->closed || after > state_->last_seq ||
               (!state_->events.empty() && state_->events.back().seq > after);
    };
    while (!has_news() && std::chrono::steady_clock::now() < end && !should_end())
        state_->appended.wait_until(
            lock, std::min(end, std::chrono::steady_clock::now() + kAskStep), has_news);
    return state_->page_locked(after);
}

void EventLog::close() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->closed = true;
    }
    state_->appended.notify_all();
}

std::uint64_t EventLog::last_seq() const {
    const std::lock_guard lock(state_->mutex);
    return state_->last_seq;
}

http::Response serve_events(EventLog& events, http::Request& request) {
    std::uint64_t numbers[2] = {0, 0};
    const std::string_view names[2] = {"after", "wait_seconds"};
    for (int i = 0; i < 2; ++i) {
        const std::string text = request.query_value(names[i], "0");
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), numbers[i]);
        if (error != std::errc() || end != text.data() + text.size())
            return http::problem(400, "invalid", "The request is not valid",
                                 fmt::format("query '{}' must be a number", names[i]));
    }
    const auto wait =
        std::min(std::chrono::seconds(std::min<std::uint64_t>(numbers[1], 3600)), kMaxWait);
    http::Response response;
    response.body = events.wait_page(numbers[0], wait, request.should_end);
    return response;
}

}  // namespace goldlink
