// Writing a version out as a disk image file. Threads: any.
#pragma once

#include <filesystem>

#include "target/store/chunk_store.hpp"
#include "target/store/manifest.hpp"

namespace goldlink::store {

// Writes `file`, which must not exist yet, in `format` ("raw", "vhd", "vhdx", "vmdk", "qcow2").
// Every chunk is checked against its digest on the way; on failure no file is left.
Result<> export_manifest(const Manifest& manifest, ChunkStore& store,
                         const std::filesystem::path& file, const std::string& format,
                         const std::filesystem::path& spool, Progress& progress);

}  // namespace goldlink::store
