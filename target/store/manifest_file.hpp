// The files that versions' manifests (common/manifest.hpp) are kept in. Immutable once written.
// Threads: any.
#pragma once

#include <filesystem>

#include "common/manifest.hpp"
#include "common/result.hpp"
#include "target/store/storage.hpp"

namespace goldlink::store {

// Replaces `file` durably.
Result<> write_manifest_file(Storage& storage, const std::filesystem::path& file,
                             const Manifest& manifest);
// Refuses a file that is malformed or does not hash to `digest`.
Result<Manifest> read_manifest_file(Storage& storage, const std::filesystem::path& file,
                                    const Digest& digest);
// Whether the file is there, may be read and is as long as that of such a disk must be.
Result<> probe_manifest_file(Storage& storage, const std::filesystem::path& file,
                             std::uint64_t size_bytes);

}  // namespace goldlink::store
