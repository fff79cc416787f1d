// Chunks on the wire, whole, one after the other: in one zstd frame (RFC 8878) that says its
// length, of 1 to kMaxFrameChunks, or as they are (`encoding=identity`), 1 to kMaxPlainChunks, for
// lines that are faster than compressing. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.hpp"
#include "common/result.hpp"

namespace goldlink {

inline constexpr std::size_t kFrameChunkBytes = 64 * 1024;
// With what a frame adds to bytes that do not compress, it stays below 1 MiB.
inline constexpr std::size_t kMaxFrameChunks = 15;
inline constexpr std::size_t kMaxFrameBytes = 1 << 20;
inline constexpr std::size_t kMaxPlainChunks = 128;
inline constexpr std::size_t kMaxAskedChunks = 4096;  // digests in one question
inline constexpr std::size_t kDigestBytes = 32;

Result<std::string> pack_chunks(Bytes chunks);
// Refuses what is no such frame, before any memory is taken for it.
Result<std::vector<std::uint8_t>> unpack_chunks(std::string_view frame);

}  // namespace goldlink
