// Space of the image store: versions are removed, and what nothing needs is found and given back.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/log.hpp"
#include "target/store/drop_version.hpp"
#include "target/store/folder_store.hpp"
#include "target/store/garbage.hpp"
#include "target/store/manifest_file.hpp"

namespace goldlink::store {

Result<> FolderStore::remove(std::string_view hex, std::uint64_t made_until) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(const auto writing, chunks_->begin_writing());
    {
        const auto lock = lock_open(digest);
        if (const auto found = open_.find(digest); found != open_.end() && !found->second.expired())
            return failure(
                ErrorKind::conflict,
                fmt::format("version {} is open: links or tasks use it", to_hex(digest)));
        if (const auto made = made_.find(digest); made != made_.end() && made->second > made_until)
            return failure(ErrorKind::conflict,
                           fmt::format("version {} was made anew meanwhile", to_hex(digest)));
        open_.erase(digest);
        removing_.insert(digest);
    }
    auto dropped = drop(digest);
    const std::lock_guard lock(open_mutex_);
    if (dropped) made_.erase(digest);
    removing_.erase(digest);
    removed_.notify_all();
    return dropped;
}

Result<> FolderStore::drop(const Digest& digest) {
    if (const auto manifest = read_manifest(digest); manifest)
        GOLDLINK_TRY(drop_version(chunks_->index(), digest, *manifest));
    else
        GOLDLINK_TRY(drop_lost_version(chunks_->index(), digest, [this](const Digest& other) {
            return read_manifest_file(chunks_->storage(), manifest_path(other), other);
        }));
    damage_.note_manifest(digest, std::nullopt);
    if (const int error = chunks_->storage().remove(manifest_path(digest)); error < 0) {
        log::warn("manifest {} stays for now: {}", to_hex(digest), std::strerror(-error));
        return {};
    }
    // It stays pending until a power loss cannot bring it back.
    const auto forget = [&]() -> Result<> {
        GOLDLINK_TRY(sync_folder(chunks_->storage(), folder_ / "manifests"));
        GOLDLINK_TRY_ASSIGN(auto txn, chunks_->index().begin_write());
        GOLDLINK_TRY(txn.erase_pending(digest));
        return txn.commit();
    };
    if (const auto forgotten = forget(); !forgotten) log::warn("{}", forgotten.error().message);
    return {};
}

std::uint64_t FolderStore::made_at(std::string_view hex) const {
    const auto digest = parse_digest(hex);
    if (!digest) return 0;
    const std::lock_guard lock(open_mutex_);
    const auto found = made_.find(*digest);
    return found == made_.end() ? 0 : found->second;
}

Result<StoreGarbage> FolderStore::garbage(const std::vector<std::string>& leaving) {
    StoreGarbage garbage;
    Releases releases(*chunks_);
    for (const std::string& hex : leaving) {
        const auto bytes = [&]() -> Result<std::uint64_t> {
            GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
            const auto manifest = read_manifest(digest);
            if (manifest) return releases.add(*manifest);
            GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
            GOLDLINK_TRY_ASSIGN(const auto record, txn.version(digest));
            if (!record) return Failure(manifest.error());
            return record->unique_chunks * kChunkBytes;  // what is known without its manifest
        };
        garbage.versions.push_back(bytes());
    }
    GOLDLINK_TRY_ASSIGN(garbage.manifests, left_manifests(false));
    GOLDLINK_TRY_ASSIGN(garbage.orphan_chunks, chunks_->left_orphans());
    GOLDLINK_TRY_ASSIGN(garbage.free_slot_bytes, chunks_->space_of_free_slots());
    GOLDLINK_TRY_ASSIGN(garbage.packs, chunks_->empty_packs(releases.slots()));
    return garbage;
}

Result<> FolderStore::collect_left_overs(StoreGarbage& went, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(went.manifests, left_manifests(true));
    for (const LeftFile& manifest : went.manifests) progress.done_bytes += manifest.bytes;
    const std::uint64_t done_before = progress.done_bytes;
    const auto punched = chunks_->punch_free_slots(progress);
    went.free_slot_bytes = progress.done_bytes - done_before;
    if (!punched) return Failure(punched.error());
    GOLDLINK_TRY_ASSIGN(went.orphan_chunks, chunks_->sweep_orphans());
    progress.done_bytes += went.orphan_chunks * kChunkBytes;
    return {};
}

Result<> FolderStore::drop_empty_packs(StoreGarbage& went) {
    GOLDLINK_TRY_ASSIGN(went.packs, chunks_->drop_empty_packs());
    return {};
}

// Manifests of versions that were being made or removed: the index says so of each. What it knows
// nothing of is not ours to remove. While they are looked for, nobody makes a version.
Result<std::vector<LeftFile>> FolderStore::left_manifests(bool remove) {
    Storage& storage = chunks_->storage();
    std::vector<LeftFile> left;
    if (chunks_->refusal()) return left;
    const std::lock_guard lock(open_mutex_);
    std::vector<Digest> pending;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
        GOLDLINK_TRY_ASSIGN(pending, txn.all_pending());
    }
    std::vector<Digest> gone;
    for (const Digest& digest : pending) {
        if (removing_.contains(digest)) continue;
        bool stays = false;
        for (const std::string_view ending : {"", ".new"}) {
            const std::string name = to_hex(digest) + std::string(ending);
            const auto file = folder_ / "manifests" / name;
            const int fd = storage.open_read_only(file);
            const std::int64_t size = fd < 0 ? fd : storage.size(fd);
            if (fd >= 0) storage.close(fd);
            if (size == -ENOENT) continue;
            if (remove)
                if (const int error = storage.remove(file); error < 0) {
                    log::warn("manifest {} stays for now: {}", name, std::strerror(-error));
                    stays = true;
                    continue;
                }
            left.push_back({name, static_cast<std::uint64_t>(std::max<std::int64_t>(size, 0))});
        }
        if (!stays) gone.push_back(digest);
    }
    if (!remove || gone.empty()) return left;
    GOLDLINK_TRY(sync_folder(storage, folder_ / "manifests"));
    GOLDLINK_TRY_ASSIGN(auto txn, chunks_->index().begin_write());
    for (const Digest& digest : gone) GOLDLINK_TRY(txn.erase_pending(digest));
    GOLDLINK_TRY(txn.commit());
    return left;
}

std::uint64_t FolderStore::free_bytes() const {
    return chunks_->storage().space(folder_).free_bytes;
}

}  // namespace goldlink::store
