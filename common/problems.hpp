// What is wrong with a daemon that serves all the same, in words for its admin: the list
// `problems` of GET /status, which the manager gathers and `goldlink status` prints.
//
// add() is for what stays until a person has looked (a state file that was set aside); a source is
// asked at every list() and is for what comes and goes (a disk that is full). Threads: any.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace boost::json {
class array;
}

namespace goldlink {

struct Problem {
    std::string area;     // a word: "state", "storage", "database", "links"
    std::string message;  // what is wrong, with what, and why
    std::string advice;   // the way out
    bool operator==(const Problem&) const = default;
};

class Problems {
  public:
    static constexpr std::size_t kMost = 100;  // of those that stay
    using Source = std::function<std::vector<Problem>()>;

    // The same problem a second time is one.
    void add(Problem problem);
    // Called by list(), on its caller's thread. What it uses must outlive the last list().
    void add_source(Source source);
    std::vector<Problem> list() const;

  private:
    mutable std::mutex mutex_;
    std::vector<Problem> staying_;
    std::vector<Source> sources_;
};

// [{"area", "message", "advice"}]
boost::json::array problems_json(const std::vector<Problem>& problems);

}  // namespace goldlink
