// Carries tasks out on the target: starts them (the task's id is the target's id, so a start that
// is repeated is one), polls their progress, ends them in the registry. Also drops the data of
// deleted versions. Used by the reconciler's thread alone.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"
#include "manager/services.hpp"

namespace goldlink::manager {

class TaskSync {
  public:
    explicit TaskSync(Services& services) : services_(services) {}

    // Errors are the database's alone.
    Result<> round(db::Connection& c);
    // When there is something to do next, as far as known.
    std::chrono::steady_clock::time_point next_try() const { return next_try_; }

  private:
    Result<> start(db::Connection& c, const db::Task& task);
    Result<> start_gc(db::Connection& c, const db::Task& task);
    Result<> poll(db::Connection& c, const db::Task& task);
    Result<> ended(db::Connection& c, const db::Task& task, const std::string& state_json);
    Result<> give_up(db::Connection& c, const db::Task& task, const std::string& state,
                     const std::string& said);
    Result<> lost(db::Connection& c, const db::Task& task);
    void clean_up(const db::Task& task);
    Result<> delete_versions(db::Connection& c);

    Services& services_;
    std::map<std::string, int> restarts_;
    bool away_ = false;  // the target did not answer in this round
    std::chrono::steady_clock::time_point next_try_{};
};

}  // namespace goldlink::manager
