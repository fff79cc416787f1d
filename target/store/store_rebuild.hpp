// Makes the index of an image store anew from what is beside it: a chunk's digest is its name, so
// reading and hashing every slot of the packs says what is where, and the manifests say which
// version needs what. The store must not be in use; packs and manifests are not changed.
//
// - The index that was there is set aside as index.before-N, never deleted.
// - A chunk that a version needs and no slot has gets a slot of its own, marked bad (lost): the
//   version is damaged, and mended as any other.
// - Chunks that no manifest names are kept (their manifests may be what is missing) and told of,
//   unless `drop_unnamed`: then their slots are free.
// Killed at any moment it leaves the store as it was, or without an index, which is refused.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace goldlink::store {

struct RebuildReport {
    std::uint64_t versions = 0, chunks = 0;
    std::vector<std::string> damaged_versions;    // of whose chunks some were not found
    std::vector<std::string> unusable_manifests;  // what is wrong with each
    std::vector<std::string> unusable_packs;
    std::uint64_t unnamed_chunks = 0;  // found, and no manifest names them
    bool unnamed_kept = true;
    std::filesystem::path set_aside;  // where the old index is; "": there was none
};

// `progress` is told how many bytes of how many are read. Blocks for as long as reading all takes.
Result<RebuildReport> rebuild_index(
    const std::filesystem::path& folder, bool drop_unnamed,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress);

}  // namespace goldlink::store
