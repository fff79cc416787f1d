// Reads a raw disk image into a ChunkWriter: holes are skipped, the rest is read, hashed and
// stored by two threads, each taking the next 4 MiB. The manifest is the same in any order of work.
//
// The disk is the file's size rounded up to 512 bytes, padded with zeros.
#pragma once

#include <functional>

#include "target/store/chunk_writer.hpp"

namespace goldlink::store {

// A file that is still being written: how many bytes it will have, and what blocks until so many of
// its first bytes are there; its error ends the import.
struct ArrivingFile {
    std::uint64_t file_bytes;
    std::function<Result<>(std::uint64_t bytes)> await;
};

// `fd` is readable from offset 0; `name` is for messages. Adds to progress.done_bytes what it has
// gone through, holes included, and stops with `cancelled` soon after progress.cancel is set.
Result<Manifest> import_raw(int fd, const std::string& name, ChunkWriter& writer,
                            Progress& progress, const ArrivingFile* arriving = nullptr);

}  // namespace goldlink::store
