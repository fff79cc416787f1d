// A larger disk of a version: zeros follow, and a GUID partition table's backup moves to the new
// end. Only the chunks that the table touches are read and stored.
#pragma once

#include "target/store/chunk_writer.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::store {

// The manifest of the grown disk, its new chunks stored. `size_bytes`: whole blocks of 4096, more
// than the version has and at most kMaxBlankBytes.
Result<Manifest> grow_manifest(const VersionReader& version, std::uint64_t size_bytes,
                               ChunkWriter& writer);

}  // namespace goldlink::store
