// The files of an import task, found where they were put, and checked. Threads: any that may block.
#pragma once

#include "target/control/control_context.hpp"

namespace goldlink::control {

inline constexpr std::size_t kMaxParents = 32;  // of a server path

// What the store is to import for a task with an `upload`, `path` or `server_path`. The other files
// of an upload set, and of a server path those in its folder and its `parents`, may be referred to.
Result<store::ImportRequest> import_request(const TaskRequest& task,
                                            const TransferFolders& folders);

// Refuses files of an upload set that do not hash to what their sender said. Not part of the
// progress: it reads what has just been written.
Result<> check_digests(const TaskRequest& task, const UploadSpool& uploads,
                       const store::Progress& progress);

}  // namespace goldlink::control
