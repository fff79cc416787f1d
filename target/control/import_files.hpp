// The files of an import task, found where they were put, and checked. Threads: any that may block.
#pragma once

#include "target/control/control_context.hpp"

namespace goldlink::control {

inline constexpr std::size_t kMaxParents = 32;  // of a server path

// What the store is to import for a task with an `upload`, `path` or `server_path`. The other files
// of an upload set, and of a server path those in its folder and its `parents`, may be referred to.
Result<store::ImportRequest> import_request(const TaskRequest& task,
                                            const TransferFolders& folders);

// Of a request whose body is (a piece of) a disk image to import, which it says by `image=1`, or to
// repair a version from (`repair=1`, too), with the import's `format`; `name` is for messages,
// `key` for `arrivals`, which hear of it.
std::optional<ExpectedImage> expected_image(const http::Request& request, std::string name,
                                            Arrivals& arrivals, std::string key,
                                            std::uint64_t file_bytes);

// What is stored already of the file that the task imports, or null.
std::shared_ptr<store::ArrivingDisk> take_arriving(const TaskRequest& task, Arrivals& arrivals);

// Refuses files of an upload set that do not hash to what their sender said. A file that was not
// hashed while it came is read for it, which is no part of the progress.
Result<> check_digests(const TaskRequest& task, const UploadSpool& uploads,
                       store::ArrivingDisk* arriving, store::Progress& progress);

}  // namespace goldlink::control
