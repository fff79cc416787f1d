// EventLog: what happened in a daemon, numbered for ever, for whoever asks "what came after N".
//
// The last `keep` events are held in memory and, a line of JSON each, in a file. append() never
// touches the disk (reactors call it); a thread of the log's own writes behind. A file that cannot
// be read is set aside (kept_file.hpp); while it cannot be written, as on a full disk, the log goes
// on in memory and the file catches up later: nobody stops for it. After a clean end
// numbers go on without a gap; after a kill or power loss, when events that someone has seen may be
// missing from the file, they jump by kCrashGap: a number is never given twice. Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/problems.hpp"
#include "common/result.hpp"

namespace boost::json {
class object;
}

namespace goldlink {

namespace http {
struct Request;
struct Response;
}  // namespace http

class EventLog {
  public:
    static constexpr std::size_t kKeep = 10'000;
    static constexpr std::size_t kMaxPage = 1'000;
    static constexpr std::uint64_t kCrashGap = 100'000;

    static std::unique_ptr<EventLog> open(const std::filesystem::path& file,
                                          std::size_t keep = kKeep, Problems* problems = nullptr);
    ~EventLog();  // writes what is queued
    EventLog(const EventLog&) = delete;
    EventLog& operator=(const EventLog&) = delete;

    // Adds {"seq", "time", "kind", ...members} and returns its seq.
    std::uint64_t append(std::string_view kind, const boost::json::object& members);

    // {"events": [...], "next": N}: up to kMaxPage events with seq > after, oldest first; `next` is
    // the `after` of the following call. An `after` beyond the newest event belongs to a lost
    // history (a wiped state folder) and is taken as 0.
    std::string page(std::uint64_t after) const;
    // The same, but blocks while there is none: until `timeout`, `should_end` (asked some times a
    // second) or close().
    std::string wait_page(std::uint64_t after, std::chrono::milliseconds timeout,
                          const std::function<bool()>& should_end);
    void close();  // ends waiters; for a daemon that stops

    std::uint64_t last_seq() const;
    // That the file cannot be written, while that is so; for Problems::add_source.
    std::vector<Problem> problems() const;

  private:
    struct State;
    explicit EventLog(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// GET /events?after=N&wait_seconds=S of the control APIs.
http::Response serve_events(EventLog& events, http::Request& request);

// "2026-11-21T09:15:02.125Z"
std::string rfc3339_now();

}  // namespace goldlink
