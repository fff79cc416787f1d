#include "target/store/open_version.hpp"

#include "common/check.hpp"

namespace goldlink::store {

bool OpenVersion::open_pack(PackTable& table, ChunkLocation location, Packs& packs) {
    const std::uint64_t number = location >> 32;
    if (number < table.size() && table[number]) return true;
    auto pack = packs.pack_of_slot(slot_of_location(location), false);
    if (!pack) return false;
    if (number >= table.size()) table.resize(number + 1);
    table[number] = std::move(*pack);
    return true;
}

void OpenVersion::publish(PackTable table) {
    tables_.push_back(std::make_unique<const PackTable>(std::move(table)));
    packs_.store(tables_.back().get(), std::memory_order_release);
}

Result<std::shared_ptr<OpenVersion>> OpenVersion::make(ChunkStore& store, const Digest& digest,
                                                       const Manifest& manifest) {
    std::shared_ptr<OpenVersion> version(new OpenVersion);
    version->digest_ = to_hex(digest);
    version->size_bytes_ = manifest.size_bytes;
    version->chunk_count_ = manifest.chunks.size();
    version->locations_.resize((manifest.chunks.size() + kPartChunks - 1) / kPartChunks);
    PackTable table;
    const bool some_are_bad = !store.bad_chunks().empty();
    GOLDLINK_TRY_ASSIGN(const auto txn, store.index().begin_read());
    const auto locate = [&](const Digest& chunk) -> Result<ChunkLocation> {
        GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(chunk));
        if (!record) return kLostChunk;
        const ChunkLocation location = location_of_slot(record->slot);
        if (some_are_bad) {
            GOLDLINK_TRY_ASSIGN(const auto bad, txn.bad(chunk));
            if (bad) return location | kBadChunkBit;
        }
        return open_pack(table, location, store.packs()) ? location : location | kBadChunkBit;
    };
    const ChunkList& chunks = manifest.chunks;
    for (std::size_t i = chunks.skip_zeros(0); i < chunks.size(); i = chunks.skip_zeros(i + 1)) {
        if (is_zero(chunks[i])) continue;
        GOLDLINK_TRY_ASSIGN(const ChunkLocation location, locate(chunks[i]));
        auto& part = version->locations_[i / kPartChunks];
        if (!part) {
            part = std::make_unique<Part>();
            for (auto& one : *part) one.store(kZeroChunk, std::memory_order_relaxed);
        }
        (*part)[i % kPartChunks].store(location, std::memory_order_relaxed);
    }
    version->publish(std::move(table));
    return version;
}

void OpenVersion::change(const std::unordered_set<ChunkLocation>& locations, bool bad,
                         Packs& packs) {
    PackTable table = *tables_.back();
    for (const auto& part : locations_) {
        if (!part) continue;
        for (auto& location : *part) {
            const ChunkLocation now = location.load(std::memory_order_relaxed);
            if (now >= kLostChunk || bad != is_stored(now)) continue;
            const ChunkLocation plain = now & ~kBadChunkBit;
            if (!locations.contains(plain)) continue;
            if (bad) {
                location.store(plain | kBadChunkBit, std::memory_order_relaxed);
                continue;
            }
            const std::uint64_t number = plain >> 32;
            if (number >= table.size() || !table[number]) {
                if (!open_pack(table, plain, packs)) continue;
                publish(table);
            }
            location.store(plain, std::memory_order_release);
        }
    }
}

ChunkLocation OpenVersion::location(std::uint64_t chunk_index) const {
    CHECK(chunk_index < chunk_count_, "a chunk past the end of its version was asked for");
    const auto& part = locations_[chunk_index / kPartChunks];
    return part ? (*part)[chunk_index % kPartChunks].load(std::memory_order_acquire) : kZeroChunk;
}

int OpenVersion::pack_fd(ChunkLocation location) const {
    return (*packs_.load(std::memory_order_acquire))[location >> 32]->read;
}

const std::uint8_t* OpenVersion::resident(ChunkLocation location,
                                          std::uint32_t bytes) const noexcept {
    PackMemory* memory = (*packs_.load(std::memory_order_acquire))[location >> 32]->memory.get();
    return memory == nullptr ? nullptr : memory->use(static_cast<std::uint32_t>(location), bytes);
}

}  // namespace goldlink::store
