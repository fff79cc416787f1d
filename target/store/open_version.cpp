#include "target/store/open_version.hpp"

#include <fmt/format.h>

#include "common/check.hpp"

namespace goldlink::store {

Result<std::shared_ptr<const OpenVersion>> OpenVersion::make(ChunkStore& store,
                                                             const Digest& digest,
                                                             const Manifest& manifest) {
    std::shared_ptr<OpenVersion> version(new OpenVersion);
    version->digest_ = to_hex(digest);
    version->size_bytes_ = manifest.size_bytes;
    version->locations_.reserve(manifest.chunks.size());
    GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
    for (const Digest& chunk : manifest.chunks) {
        if (is_zero(chunk)) {
            version->locations_.push_back(kZeroChunk);
            continue;
        }
        GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(chunk));
        if (!record)
            return failure(ErrorKind::corrupt,
                           fmt::format("version {} needs chunk {} that the store does not have; "
                                       "import the image again",
                                       to_hex(digest), to_hex(chunk)));
        const ChunkLocation location = location_of_slot(record->slot);
        const std::uint64_t pack = location >> 32;
        if (pack >= version->packs_.size()) version->packs_.resize(pack + 1);
        if (!version->packs_[pack]) {
            GOLDLINK_TRY_ASSIGN(version->packs_[pack],
                                store.packs().pack_of_slot(record->slot, false));
        }
        version->locations_.push_back(location);
    }
    return std::shared_ptr<const OpenVersion>(std::move(version));
}

ChunkLocation OpenVersion::location(std::uint64_t chunk_index) const {
    CHECK(chunk_index < locations_.size(), "a chunk past the end of its version was asked for");
    return locations_[chunk_index];
}

int OpenVersion::pack_fd(ChunkLocation location) const { return packs_[location >> 32]->read; }

const std::uint8_t* OpenVersion::resident(ChunkLocation location,
                                          std::uint32_t bytes) const noexcept {
    PackMemory* memory = packs_[location >> 32]->memory.get();
    return memory == nullptr ? nullptr : memory->use(static_cast<std::uint32_t>(location), bytes);
}

}  // namespace goldlink::store
