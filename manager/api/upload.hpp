// What all ways of bringing in a file share. Include only from .cpp files.
#pragma once

#include "manager/api/routes.hpp"
#include "manager/db/connection.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

inline constexpr std::uint64_t kMaxUploadBytes = std::uint64_t{64} << 40;

// Of a disk image to import; "" is to be detected.
Maybe<void> check_format(std::string_view format);

// The next version of the image, which is made when there is none.
Maybe<db::Version> begin_version(db::Connection& c, const std::string& name,
                                 const std::string& kind, const std::string& note);

// A request's body on its way to the target's spool, for a task in phase `upload` whose `upload`
// names the file. Streams it, notes progress with `message`, then hands the task to the
// reconciler: 202 with the task. A body that ends early, or a target that refuses it, ends the
// task.
Answer stream_to_target(Call& call, const db::Task& task, const std::string& message);

// Ends a task in phase `upload` that will get no more: state "failed" or "cancelled", and what has
// arrived is dropped. What of that does not succeed is logged, and tidied up later by itself.
void end_upload(Call& call, const db::Task& task, const std::string& state, const std::string& why);

}  // namespace goldlink::manager::api
