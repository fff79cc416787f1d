#include "target/store/grow.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "target/store/gpt.hpp"

namespace goldlink::store {

namespace {

using Chunk = std::vector<std::uint8_t>;

// `bytes` from `offset_bytes` on, a chunk's part at a time.
template <typename Each>
Result<> by_chunk(std::uint64_t offset_bytes, std::uint64_t length, Each&& each) {
    for (std::uint64_t done = 0; done < length;) {
        const std::uint64_t at = offset_bytes + done, in_chunk = at % kChunkBytes;
        const std::uint64_t run = std::min(kChunkBytes - in_chunk, length - done);
        GOLDLINK_TRY(each(at / kChunkBytes, in_chunk, done, run));
        done += run;
    }
    return {};
}

}  // namespace

Result<Manifest> grow_manifest(const VersionReader& version, std::uint64_t size_bytes,
                               ChunkWriter& writer) {
    constexpr std::uint64_t kUnit = 4096;
    const std::uint64_t old_bytes = version.size_bytes();
    if (size_bytes <= old_bytes)
        return failure(ErrorKind::invalid,
                       fmt::format("the disk has {} bytes already; it can become larger, not "
                                   "smaller: what lies past its new end would be lost",
                                   old_bytes));
    if (size_bytes % kUnit != 0 || size_bytes > kMaxBlankBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("a grown disk has whole blocks of {} bytes and at most {} "
                                   "bytes, not {}",
                                   kUnit, kMaxBlankBytes, size_bytes));
    Chunk chunk(kChunkBytes);
    const auto read = [&](std::uint64_t offset, std::uint8_t* data, std::uint64_t length) {
        return by_chunk(offset, length,
                        [&](std::uint64_t index, std::uint64_t in_chunk, std::uint64_t done,
                            std::uint64_t run) -> Result<> {
                            GOLDLINK_TRY(version.read(index, chunk.data()));
                            std::memcpy(data + done, chunk.data() + in_chunk, run);
                            return {};
                        });
    };
    GOLDLINK_TRY_ASSIGN(const auto patches, grow_gpt(read, old_bytes, size_bytes));
    std::map<std::uint64_t, Chunk> changed;
    const auto apply = [&](const DiskPatch& patch) {
        return by_chunk(patch.offset_bytes, patch.bytes.size(),
                        [&](std::uint64_t index, std::uint64_t in_chunk, std::uint64_t done,
                            std::uint64_t run) -> Result<> {
                            const auto [at, is_new] = changed.try_emplace(index, kChunkBytes);
                            if (is_new) GOLDLINK_TRY(version.read(index, at->second.data()));
                            std::memcpy(at->second.data() + in_chunk, patch.bytes.data() + done,
                                        run);
                            return {};
                        });
    };
    for (const DiskPatch& patch : patches) GOLDLINK_TRY(apply(patch));
    Manifest manifest = version.manifest();
    manifest.size_bytes = size_bytes;
    manifest.chunks.resize(chunk_count_of(size_bytes));
    Hasher hasher;
    for (const auto& [index, bytes] : changed) {
        GOLDLINK_TRY_ASSIGN(const Digest stored, writer.store(bytes.data(), hasher));
        manifest.chunks.set(index, stored);
    }
    return manifest;
}

}  // namespace goldlink::store
