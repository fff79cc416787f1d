// What every Version has in common, free of the store, so that disks can be used without one.
#include "target/store/image_store.hpp"

namespace goldlink::store {

std::uint64_t Version::slot_offset_bytes(ChunkLocation location) {
    return (location & 0xffffffffu) * kChunkBytes;
}

const std::uint8_t* Version::resident(ChunkLocation, std::uint32_t) const noexcept {
    return nullptr;
}

}  // namespace goldlink::store
