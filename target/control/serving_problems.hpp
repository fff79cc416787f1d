// ServingProblems: what keeps links from being served as they should be: those that take no logins,
// and disks whose storage has failed. Looks at all links when asked, at most once in kEvery, so
// that a status costs little in a room of thousands. Threads: any that may block.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <vector>

#include "common/problems.hpp"
#include "target/control/link_table.hpp"

namespace goldlink::control {

class ServingProblems {
  public:
    static constexpr std::chrono::seconds kEvery{2};

    explicit ServingProblems(LinkTable& links) : links_(links) {}

    std::vector<Problem> list();  // for Problems::add_source
    std::size_t ready();          // links that take logins

  private:
    void look();  // mutex_ held

    LinkTable& links_;
    std::mutex mutex_;
    std::chrono::steady_clock::time_point looked_{};
    std::size_t ready_ = 0;
    std::vector<Problem> found_;
};

}  // namespace goldlink::control
