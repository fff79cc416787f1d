// How much of a raw disk image the store does not have yet. Threads: any.
#pragma once

#include <string>

#include "target/store/chunk_store.hpp"

namespace goldlink::store {

// Reads and hashes all of it, holes passed over. Chunks that occur in it several times count once
// as long as that can be told in a bounded memory.
Result<std::uint64_t> new_bytes_of(int fd, const std::string& name, ChunkStore& store,
                                   const Progress& progress);

}  // namespace goldlink::store
