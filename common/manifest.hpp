// Manifest: what a version is made of. Its SHA-256 is the version's digest, so equal content gives
// equal digests on every machine. Pure: target/store/manifest_file.hpp keeps them in files.
//
// Bytes, little endian:      offset  length
//   magic "GLmanif\n"             0       8
//   format version = 1            8       4
//   chunk size = 65536           12       4
//   size of the disk in bytes    16       8   multiple of 512
//   number of chunks             24       8   ceil(size / chunk size)
//   zero                         32      32
//   chunk digests                64      32 each, SHA-256 of the 64 KiB chunk (the last one padded
//                                        with zeros); 32 zero bytes for a chunk of zeros
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/bytes.hpp"
#include "common/chunk_list.hpp"
#include "common/digest.hpp"
#include "common/result.hpp"

namespace goldlink {

inline constexpr std::uint64_t kChunkBytes = 64 * 1024;
// The overlay counts 4 KiB blocks in 32 bits.
inline constexpr std::uint64_t kMaxDiskBytes = (16ull << 40) - (1ull << 20);
inline constexpr std::size_t kManifestHeaderBytes = 64;

struct Manifest {
    std::uint64_t size_bytes = 0;
    ChunkList chunks;

    Digest digest() const;
    // Sorted, each once, without the chunk of zeros.
    std::vector<Digest> distinct_chunks() const;
    std::uint64_t stored_chunks() const;  // that are not zeros
    // Its bytes are the header, then those of `chunks`.
    std::array<std::uint8_t, kManifestHeaderBytes> header() const;
};

std::uint64_t chunk_count_of(std::uint64_t size_bytes);
// The length of a manifest of such a disk.
std::uint64_t manifest_bytes_of(std::uint64_t size_bytes);

// The disk's size by a manifest's header. The message of an error goes on after the manifest's
// name: corrupt, it is none; invalid, it has a format that this program does not read.
Result<std::uint64_t> manifest_disk_bytes(Bytes header);

// A raw disk is a file's bytes, padded with zeros to whole sectors.
std::uint64_t disk_bytes_of_file(std::uint64_t file_bytes);

}  // namespace goldlink
