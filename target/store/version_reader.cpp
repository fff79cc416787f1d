#include "target/store/version_reader.hpp"

#include <fmt/format.h>

#include <cstring>

namespace goldlink::store {

Result<> VersionReader::read(std::uint64_t chunk, std::uint8_t* data) const {
    if (chunk >= manifest_.chunks.size() || is_zero(manifest_.chunks[chunk])) {
        std::memset(data, 0, kChunkBytes);
        return {};
    }
    const Digest& digest = manifest_.chunks[chunk];
    std::optional<ChunkRecord> record;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, store_.index().begin_read());
        GOLDLINK_TRY_ASSIGN(record, txn.chunk(digest));
    }
    if (!record)
        return failure(ErrorKind::corrupt,
                       fmt::format("chunk {} is missing from the store", to_hex(digest)));
    GOLDLINK_TRY(store_.packs().read(record->slot, data));
    Hasher hasher;
    if (hasher.hash(Bytes(data, kChunkBytes)) == digest) return {};
    return failure(ErrorKind::corrupt,
                   fmt::format("the chunk at byte {} of version {} is corrupt in the store; verify "
                               "the version and import the image again",
                               chunk * kChunkBytes, version_->digest()));
}

}  // namespace goldlink::store
