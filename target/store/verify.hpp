// Checking what a version is made of. Threads: any; each call on one thread.
#pragma once

#include <map>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"

namespace goldlink::store {

inline constexpr std::size_t kMaxUsesReported = 100;

// Looks at each distinct chunk on the disk and returns those that cannot be served; they are bad
// from now on, and those that were and are right again are not. Adds to progress.done_bytes.
Result<std::vector<Digest>> bad_chunks_of(const Manifest& manifest, ChunkStore& store,
                                          Progress& progress, const Pace& pace = nullptr);

// Adds where `manifest` uses the chunks of `findings`.
void add_uses(std::map<Digest, VerifyFinding>& findings, const std::string& version_digest,
              const Manifest& manifest);

}  // namespace goldlink::store
