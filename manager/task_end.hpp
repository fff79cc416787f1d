// How a task ends in the registry: the task, its version, channels and the event in one
// transaction. Run on a lent connection inside a transaction.
#pragma once

#include <boost/json/value.hpp>

#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager {

// The version a finished import or commit made.
struct MadeVersion {
    std::string digest;
    std::int64_t size_bytes = 0, stored_bytes = 0;
    std::optional<std::string> base;  // of a link's disk: the version it ran on
    bool live = false;                // and its client was running
    boost::json::value salvage = {};  // what of a damaged disk is not in it
};

// state: failed or cancelled. A version that was to come is marked failed with the error;
// one that was only worked on stays what it is.
Result<> end_task_without_result(db::Connection& c, const db::Task& task, const std::string& state,
                                 const std::string& error);
// Version ready, channel moved: production for an image's first ready version, else latest, and the
// task's own channel where it names one.
Result<> end_task_with_version(db::Connection& c, const db::Task& task, const MadeVersion& made);
// The target has taken a link's disk to another version: the registry follows.
Result<> end_task_with_rebase(db::Connection& c, const db::Task& task,
                              const std::string& result_json);
// What was mended of a version: {"bad_chunks", "mended_chunks", "manifest_mended"}.
Result<> end_task_with_repair(db::Connection& c, const db::Task& task,
                              const std::string& result_json);
Result<> end_task_with_findings(db::Connection& c, const db::Task& task,
                                const std::string& result_json, const std::string& message);

}  // namespace goldlink::manager
