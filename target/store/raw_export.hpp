// Writing a version out as a disk image file. Threads: any.
#pragma once

#include <filesystem>
#include <string_view>

#include "common/manifest.hpp"
#include "target/store/chunk_store.hpp"

namespace goldlink::store {

// "raw.zst" is the raw disk, compressed.
inline constexpr std::string_view kExportFormats[] = {"raw",  "raw.zst", "vhd",
                                                      "vhdx", "vmdk",    "qcow2"};

// Writes `file`, which must not exist yet, in one of these formats.
// Every chunk is checked against its digest on the way; on failure no file is left. Returns the
// file's SHA-256.
Result<Digest> export_manifest(const Manifest& manifest, ChunkStore& store,
                               const std::filesystem::path& file, const std::string& format,
                               const std::filesystem::path& spool, Progress& progress);

}  // namespace goldlink::store
