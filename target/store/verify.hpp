// Checking and dropping what a version is made of. Threads: any; each call on one thread.
#pragma once

#include <map>

#include "target/store/chunk_store.hpp"
#include "target/store/manifest.hpp"

namespace goldlink::store {

inline constexpr std::size_t kMaxUsesReported = 100;

// Reads each distinct chunk from the disk, past the page cache where the filesystem lets us, and
// returns those whose bytes do not hash to their digest, cannot be read, or are not in the index.
Result<std::vector<Digest>> corrupt_chunks(const Manifest& manifest, ChunkStore& store,
                                           Progress& progress);

// Adds where `manifest` uses the chunks of `findings`.
void add_uses(std::map<Digest, VerifyFinding>& findings, const std::string& version_digest,
              const Manifest& manifest);

// Forgets a version in one transaction; chunks only it used become orphans.
Result<> drop_version(ChunkIndex& index, const Digest& digest, const Manifest& manifest);

}  // namespace goldlink::store
