// Damage of the image store: found, told and mended.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "common/log.hpp"
#include "target/store/folder_store.hpp"
#include "target/store/image_source.hpp"
#include "target/store/manifest_file.hpp"
#include "target/store/raw_import.hpp"
#include "target/store/verify.hpp"

namespace goldlink::store {

// Tells the open versions.
void FolderStore::tell(const std::vector<ChunkPlace>& chunks, bool bad) {
    std::unordered_set<ChunkLocation> locations;
    for (const ChunkPlace& place : chunks)
        if (is_stored(place.location)) locations.insert(place.location);
    const std::lock_guard lock(open_mutex_);
    for (const auto& [digest, open] : open_)
        if (const auto version = open.lock()) version->change(locations, bad, chunks_->packs());
}

Result<RepairResult> FolderStore::mend(ChunkWriter& writer, const Manifest& manifest) {
    const Digest digest = manifest.digest();
    GOLDLINK_TRY(writer.flush());
    RepairResult result;
    {
        const auto lock = lock_open(digest);
        if (!has_version(digest)) return no_such_version(digest);
        if (!read_manifest(digest)) {
            GOLDLINK_TRY(make_manifest_anew(digest, manifest));
            result.manifest_mended = true;
        }
    }
    result.mended_chunks = writer.mended_chunks();
    result.bad_chunks = result.mended_chunks;
    GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
    for (const Digest& chunk : manifest.distinct_chunks()) {
        GOLDLINK_TRY_ASSIGN(const bool lacking, lacks_chunk(*chunks_, txn, chunk));
        if (lacking) ++result.bad_chunks;
    }
    return result;
}

// Under lock_open().
Result<> FolderStore::make_manifest_anew(const Digest& digest, const Manifest& manifest) {
    GOLDLINK_TRY(write_manifest_file(chunks_->storage(), manifest_path(digest), manifest));
    GOLDLINK_TRY(read_manifest(digest));
    log::info("the manifest of version {} is made anew", to_hex(digest));
    return {};
}

Result<std::vector<VerifyFinding>> FolderStore::verify(std::string_view hex, Progress& progress,
                                                       const Pace& pace) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, read_manifest(digest));
    progress.total_bytes = manifest.size_bytes;
    GOLDLINK_TRY_ASSIGN(const auto bad, bad_chunks_of(manifest, *chunks_, progress, pace));
    {
        GOLDLINK_TRY_ASSIGN(auto txn, chunks_->index().begin_write());
        GOLDLINK_TRY_ASSIGN(const auto still, txn.version(digest));
        if (still) GOLDLINK_TRY(txn.put_verified(digest, std::time(nullptr)));
        GOLDLINK_TRY(txn.commit());
    }
    return findings_of(bad);
}

Result<std::vector<VerifyFinding>> FolderStore::findings_of(const std::vector<Digest>& bad) {
    std::vector<VerifyFinding> findings;
    if (bad.empty()) return findings;
    std::map<Digest, VerifyFinding> by_digest;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
        for (const Digest& chunk : bad) {
            GOLDLINK_TRY_ASSIGN(const auto record, txn.bad(chunk));
            if (!record) continue;  // mended meanwhile
            by_digest[chunk] = {to_hex(chunk), record->reason, record->since, {}};
        }
    }
    GOLDLINK_TRY_ASSIGN(const auto versions, list());
    for (const VersionInfo& info : versions) {
        GOLDLINK_TRY_ASSIGN(const Digest other, parse_digest(info.digest));
        const auto other_manifest = read_manifest(other);
        if (!other_manifest) continue;  // removed meanwhile, or its own error to find
        add_uses(by_digest, info.digest, *other_manifest);
    }
    for (auto& [chunk, finding] : by_digest) findings.push_back(std::move(finding));
    return findings;
}

// First what is bad is found, then the file is gone through for it. A manifest that is lost leaves
// no list of what the version needs: then the file must be the one that it was made of.
Result<RepairResult> FolderStore::repair(std::string_view hex, const ImportRequest& request,
                                         Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    auto manifest = read_manifest(digest);
    if (!manifest && manifest.error().kind == ErrorKind::not_found &&
        manifest.error().errno_value == 0)
        return Failure(manifest.error());  // there is no such version
    RepairResult result;
    std::vector<Digest> bad;
    GOLDLINK_TRY_ASSIGN(const auto source, ImageSource::open(request, folder_ / "spool", progress));
    if (manifest) {
        progress.total_bytes += manifest->size_bytes;
        GOLDLINK_TRY_ASSIGN(bad, bad_chunks_of(*manifest, *chunks_, progress));
        result.bad_chunks = bad.size();
    }
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin_mending(*chunks_));
    GOLDLINK_TRY_ASSIGN(const Manifest from_file,
                        import_raw(source->raw_fd(), source->name(), *writer, progress));
    GOLDLINK_TRY(writer->flush());
    if (!manifest) {
        const auto lock = lock_open(digest);
        if (from_file.digest() != digest)
            return failure(
                ErrorKind::conflict,
                fmt::format("{} is not what version {} was made of, and only from that its "
                            "manifest can be made anew; {}",
                            source->name(), to_hex(digest), manifest.error().message));
        GOLDLINK_TRY(make_manifest_anew(digest, from_file));
        result.manifest_mended = true;
        result.bad_chunks = result.mended_chunks = writer->mended_chunks();
        return result;
    }
    for (const Digest& chunk : bad) {
        GOLDLINK_TRY_ASSIGN(const bool still, chunks_->bad_chunks().has(chunk));
        if (!still) ++result.mended_chunks;
    }
    return result;
}

Result<> FolderStore::recheck_bad_chunks(Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const auto all, chunks_->bad_chunks().all());
    ChunkCheck check(chunks_->index(), chunks_->packs());
    std::vector<ChunkPlace> good;
    for (const auto& [digest, record] : all) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "stopped");
        GOLDLINK_TRY_ASSIGN(const auto answer, check.look_at(digest));
        if (!answer.bad && is_stored(answer.location)) good.push_back({digest, answer.location});
    }
    return chunks_->bad_chunks().clear_read_right(good);
}

}  // namespace goldlink::store
