#include "target/store/damage_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "target/store/manifest_file.hpp"

namespace goldlink::store {

void DamageReport::note_manifest(const Digest& version, const std::optional<Error>& error) {
    const std::lock_guard lock(mutex_);
    const auto known = manifests_.find(version);
    if (known == manifests_.end() ? !error : error && known->second == error->message) return;
    if (error)
        manifests_[version] = error->message;
    else
        manifests_.erase(known);
    noted_.fetch_add(1, std::memory_order_release);
}

DamageReport::Damage DamageReport::of(const Digest& version, std::uint64_t size_bytes,
                                      const std::filesystem::path& manifest, ChunkStore& store) {
    if (const auto usable = probe_manifest_file(store.storage(), manifest, size_bytes); !usable)
        return {size_bytes, usable.error().message};
    const std::lock_guard lock(mutex_);
    if (const auto noted = manifests_.find(version); noted != manifests_.end())
        return {size_bytes, noted->second};
    if (store.bad_chunks().empty()) return {};
    if (const std::uint64_t now = store.bad_chunks().revision(); now != revision_) {
        revision_ = now;
        counted_.clear();
    }
    const auto known = counted_.find(version);
    if (known != counted_.end()) return known->second;
    return counted_[version] = count(version, manifest, store);
}

DamageReport::Damage DamageReport::count(const Digest& version,
                                         const std::filesystem::path& manifest, ChunkStore& store) {
    const auto read = read_manifest_file(store.storage(), manifest, version);
    if (!read) return {};  // of a version that is being removed
    const auto list = store.bad_chunks().all();
    auto txn = store.index().begin_read();
    if (!list || !txn) return {};
    std::unordered_map<Digest, BadReason, DigestHash> bad;
    for (const auto& [digest, record] : *list) bad[digest] = record.reason;
    std::uint64_t bad_bytes = 0;
    std::map<BadReason, std::uint64_t> by_reason;
    std::map<std::uint64_t, PackDamage> by_pack;
    for (std::size_t i = 0; i < read->chunks.size(); ++i) {
        const auto found = bad.find(read->chunks[i]);
        if (found == bad.end()) continue;
        bad_bytes += std::min(kChunkBytes, read->size_bytes - i * kChunkBytes);
        const auto record = txn->chunk(found->first);
        const bool of_file = found->second == BadReason::file_missing ||
                             found->second == BadReason::file_short ||
                             found->second == BadReason::file_refused;
        if (of_file && record && *record) {
            PackDamage& pack = by_pack[(*record)->slot / kSlotsPerPack];
            ++pack.chunks;
            pack.slots_needed = std::max(pack.slots_needed, (*record)->slot % kSlotsPerPack + 1);
        } else
            ++by_reason[found->second];
    }
    if (bad_bytes == 0) return {};
    return describe(bad_bytes, by_reason, by_pack, store);
}

DamageReport::Damage DamageReport::describe(std::uint64_t bad_bytes,
                                            const std::map<BadReason, std::uint64_t>& by,
                                            const std::map<std::uint64_t, PackDamage>& by_pack,
                                            ChunkStore& store) {
    std::vector<std::string> parts;
    for (const auto& [pack, damage] : by_pack)
        parts.push_back(store.packs().trouble_with(pack, damage.slots_needed));
    for (const auto& [reason, chunks] : by) {
        const char* s = chunks == 1 ? "" : "s";
        switch (reason) {
            case BadReason::unreadable:
                parts.push_back(fmt::format("{} chunk{} that the disk cannot read", chunks, s));
                break;
            case BadReason::lost:
                parts.push_back(fmt::format("{} chunk{} that the index has lost", chunks, s));
                break;
            default:
                parts.push_back(fmt::format("{} corrupt chunk{}", chunks, s));
        }
    }
    return {bad_bytes, fmt::format("reads of {} KiB of it fail: {}", bad_bytes / 1024,
                                   fmt::join(parts, "; "))};
}

}  // namespace goldlink::store
