// Forgetting a version: in one transaction, after which the chunks that only it used are orphans.
// Threads: any; each call on one thread.
#pragma once

#include <functional>

#include "common/manifest.hpp"
#include "target/store/chunk_index.hpp"

namespace goldlink::store {

Result<> drop_version(ChunkIndex& index, const Digest& digest, const Manifest& manifest);

// One whose manifest is lost. The index says by how many versions a chunk is used, and the XOR of
// their numbers; `read_manifest` gives the other versions' manifests, and what these do not explain
// is the lost one's. Where further manifests are lost, a few chunks may stay undecided: they keep
// their count, so their space is not given back, and the log says how many they are.
Result<> drop_lost_version(ChunkIndex& index, const Digest& digest,
                           const std::function<Result<Manifest>(const Digest&)>& read_manifest);

}  // namespace goldlink::store
