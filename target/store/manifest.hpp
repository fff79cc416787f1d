// Manifest: what a version is made of. Its SHA-256 is the version's digest, so equal content gives
// equal digests on every node. Immutable once written. Threads: any.
//
// File, little endian:       offset  length
//   magic "GLmanif\n"             0       8
//   format version = 1            8       4
//   chunk size = 65536           12       4
//   size of the disk in bytes    16       8   multiple of 512
//   number of chunks             24       8   ceil(size / chunk size)
//   zero                         32      32
//   chunk digests                64      32 each, SHA-256 of the 64 KiB chunk (the last one padded
//                                        with zeros); 32 zero bytes for a chunk of zeros
#pragma once

#include <filesystem>
#include <vector>

#include "common/result.hpp"
#include "target/store/digest.hpp"
#include "target/store/storage.hpp"

namespace goldlink::store {

// The overlay counts 4 KiB blocks in 32 bits.
inline constexpr std::uint64_t kMaxDiskBytes = (16ull << 40) - (1ull << 20);

struct Manifest {
    std::uint64_t size_bytes = 0;
    std::vector<Digest> chunks;

    Digest digest() const;
    // Sorted, each once, without the chunk of zeros.
    std::vector<Digest> distinct_chunks() const;
    // Replaces `file` durably.
    Result<> write(Storage& storage, const std::filesystem::path& file) const;
    // Refuses a file that is malformed or does not hash to `digest`.
    static Result<Manifest> read(Storage& storage, const std::filesystem::path& file,
                                 const Digest& digest);
    // Whether the file is there, may be read and is as long as that of such a disk must be.
    static Result<> probe(Storage& storage, const std::filesystem::path& file,
                          std::uint64_t size_bytes);
};

std::uint64_t chunk_count_of(std::uint64_t size_bytes);

}  // namespace goldlink::store
