// A request's body on its way to the target's spool, for a task in phase `upload` whose `upload`
// names the file. Include only from .cpp files.
#pragma once

#include "manager/api/routes.hpp"
#include "manager/db/rows.hpp"

namespace goldlink::manager::api {

// Streams `length_bytes`, notes progress with `message`, then hands the task to the reconciler: 202
// with the task. A body that ends early, or a target that refuses it, ends the task.
Answer stream_to_target(Call& call, const db::Task& task, std::uint64_t length_bytes,
                        const std::string& message);

}  // namespace goldlink::manager::api
