#include "target/store/image_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <ctime>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "common/file.hpp"
#include "common/log.hpp"
#include "target/store/chunk_check.hpp"
#include "target/store/damage_report.hpp"
#include "target/store/drop_version.hpp"
#include "target/store/garbage.hpp"
#include "target/store/grow.hpp"
#include "target/store/image_source.hpp"
#include "target/store/manifest_file.hpp"
#include "target/store/open_version.hpp"
#include "target/store/pinned_versions.hpp"
#include "target/store/raw_export.hpp"
#include "target/store/raw_import.hpp"
#include "target/store/verify.hpp"
#include "target/store/version_reader.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::store {

namespace {

constexpr std::string_view kFormat = "goldlink image store 1\n";

// The folder:  format      the line above; a later number is refused
//              lock        flock()ed while a process has the store open
//              index/      ChunkIndex
//              packs/      Packs
//              manifests/  <digest>, one a version
//              spool/      what an import or export converts; emptied at open
class FolderStore final : public ImageStore {
  public:
    FolderStore(std::filesystem::path folder, FileDescriptor lock,
                std::unique_ptr<ChunkStore> chunks)
        : folder_(std::move(folder)), lock_(std::move(lock)), chunks_(std::move(chunks)) {
        chunks_->bad_chunks().on_change = [this](const std::vector<ChunkPlace>& changed, bool bad) {
            tell(changed, bad);
        };
    }

    Result<> tidy();

    Result<std::shared_ptr<const Version>> open_version(std::string_view digest) override;
    Result<std::unique_ptr<const VersionReader>> read_version(std::string_view digest) override;
    Result<std::filesystem::path> manifest_file(std::string_view digest) const override;
    Result<std::vector<std::uint8_t>> read_chunks(Bytes digests) override {
        return store::read_chunks(*chunks_, digests);
    }
    Result<std::unique_ptr<VersionTransfer>> begin_transfer() override;
    Result<std::vector<VersionInfo>> list() const override;
    Result<VersionInfo> import(const ImportRequest& request, Progress& progress) override;
    Result<VersionInfo> make_blank(std::uint64_t size_bytes) override;
    Result<VersionInfo> grow(std::string_view digest, std::uint64_t size_bytes) override;
    Result<Digest> export_version(std::string_view digest, const std::filesystem::path& file,
                                  const std::string& format, Progress& progress) override;
    Result<std::vector<VerifyFinding>> verify(std::string_view digest, Progress& progress,
                                              const Pace& pace) override;
    Result<RepairResult> repair(std::string_view digest, const ImportRequest& request,
                                Progress& progress) override;
    Result<> recheck_bad_chunks(Progress& progress) override;
    std::uint64_t damage_revision() const override {
        return 1 + chunks_->bad_chunks().revision() + damage_.revision();
    }
    using ImageStore::remove;
    Result<> remove(std::string_view digest, std::uint64_t made_until) override;
    std::uint64_t made_count() const override { return made_count_; }
    std::uint64_t made_at(std::string_view digest) const override;
    Result<StoreGarbage> garbage(const std::vector<std::string>& leaving) override;
    Result<> collect_left_overs(StoreGarbage& went, Progress& progress) override;
    Result<> drop_empty_packs(StoreGarbage& went) override;
    Result<VersionInfo> commit(std::string_view base_digest,
                               const std::vector<std::uint64_t>& changed_chunks,
                               const std::function<Result<>(std::uint64_t, std::uint8_t*)>& read,
                               Progress& progress) override;
    std::uint64_t free_bytes() const override;
    Result<> pin(const std::vector<PinWish>& wishes, Progress& progress) override {
        return pinned_.apply(*this, wishes, progress);
    }
    std::vector<PinnedVersion> pinned() const override { return pinned_.report(); }
    std::uint64_t pinned_bytes() const override {
        return chunks_->packs().resident().pinned_bytes();
    }
    std::uint64_t resident_bytes() const override {
        return chunks_->packs().resident().resident_bytes();
    }

  private:
    std::filesystem::path manifest_path(const Digest& digest) const {
        return folder_ / "manifests" / to_hex(digest);
    }
    Result<Manifest> read_manifest(const Digest& digest) const;
    bool has_version(const Digest& digest) const;
    Result<VersionInfo> finish(ChunkWriter& writer, const Manifest& manifest);
    Result<RepairResult> mend(ChunkWriter& writer, const Manifest& manifest);
    Result<> make_manifest_anew(const Digest& digest, const Manifest& manifest);
    void tell(const std::vector<ChunkPlace>& chunks, bool bad);
    Result<std::vector<VerifyFinding>> findings_of(const std::vector<Digest>& bad);
    std::unique_lock<std::mutex> lock_open(const Digest& digest);
    Result<> drop(const Digest& digest);
    Result<std::vector<LeftFile>> left_manifests(bool remove);

    const std::filesystem::path folder_;
    const FileDescriptor lock_;
    const std::unique_ptr<ChunkStore> chunks_;

    // Guards what follows, and that a version is made or removed.
    mutable std::mutex open_mutex_;
    std::unordered_map<Digest, std::weak_ptr<OpenVersion>, DigestHash> open_;
    // Versions that are being removed, which may take long: nobody opens or makes them meanwhile.
    std::set<Digest> removing_;
    std::condition_variable removed_;
    std::unordered_map<Digest, std::uint64_t, DigestHash> made_;
    std::atomic<std::uint64_t> made_count_{0};

    mutable DamageReport damage_;
    PinnedVersions pinned_{chunks_->packs()};
};

VersionInfo info_of(const Digest& digest, const VersionRecord& record) {
    return {to_hex(digest),
            record.size_bytes,
            record.stored_chunks * kChunkBytes,
            record.unique_chunks * kChunkBytes,
            0,
            0,
            {}};
}

Failure no_such_version(const Digest& digest) {
    return failure(ErrorKind::not_found,
                   fmt::format("the image store has no version {}", to_hex(digest)));
}

Result<> check_format(const std::filesystem::path& folder) {
    const auto path = folder / "format";
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
        if (std::filesystem::exists(folder / "index", error))
            return failure(
                ErrorKind::corrupt,
                fmt::format("{} is missing beside an image store; restore it, or move the "
                            "folder away to begin an empty store",
                            path.string()));
        return goldlink::replace_file(path, kFormat);
    }
    GOLDLINK_TRY_ASSIGN(const std::string found, read_file(path, 256));
    if (found != kFormat)
        return failure(
            ErrorKind::invalid,
            fmt::format("{} says \"{}\", this program reads \"{}\": start the newer program "
                        "that wrote it",
                        path.string(), found.substr(0, found.find('\n')),
                        kFormat.substr(0, kFormat.size() - 1)));
    return {};
}

// Drops what a killed process left: spooled files, manifests the index does not name.
Result<> FolderStore::tidy() {
    std::error_code error;
    std::filesystem::remove_all(folder_ / "spool", error);
    GOLDLINK_TRY(make_directories(folder_ / "spool"));
    GOLDLINK_TRY_ASSIGN(const auto left, left_manifests(true));
    for (const LeftFile& manifest : left)
        log::info("removed manifest {}, left by an import that did not end", manifest.name);
    return {};
}

Result<Manifest> FolderStore::read_manifest(const Digest& digest) const {
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
        GOLDLINK_TRY_ASSIGN(const auto record, txn.version(digest));
        if (!record) return no_such_version(digest);
    }
    auto manifest = read_manifest_file(chunks_->storage(), manifest_path(digest), digest);
    damage_.note_manifest(digest, manifest ? std::nullopt : std::optional(manifest.error()));
    return manifest;
}

// Waits until this version is not being removed.
std::unique_lock<std::mutex> FolderStore::lock_open(const Digest& digest) {
    std::unique_lock lock(open_mutex_);
    removed_.wait(lock, [&] { return !removing_.contains(digest); });
    return lock;
}

Result<std::shared_ptr<const Version>> FolderStore::open_version(std::string_view hex) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    const auto lock = lock_open(digest);
    if (const auto found = open_.find(digest); found != open_.end()) {
        if (auto version = found->second.lock()) return version;
        open_.erase(found);
    }
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, read_manifest(digest));
    GOLDLINK_TRY_ASSIGN(auto version, OpenVersion::make(*chunks_, digest, manifest));
    open_[digest] = version;
    return version;
}

Result<std::unique_ptr<const VersionReader>> FolderStore::read_version(std::string_view hex) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(auto version, open_version(hex));
    GOLDLINK_TRY_ASSIGN(Manifest manifest, read_manifest(digest));
    return std::make_unique<const VersionReader>(*chunks_, std::move(version), std::move(manifest));
}

Result<std::vector<VersionInfo>> FolderStore::list() const {
    GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
    GOLDLINK_TRY_ASSIGN(const auto versions, txn.versions());
    std::vector<VersionInfo> all;
    for (const auto& [digest, record] : versions) {
        VersionInfo info = info_of(digest, record);
        auto damage = damage_.of(digest, info.size_bytes, manifest_path(digest), *chunks_);
        info.bad_bytes = damage.bad_bytes;
        GOLDLINK_TRY_ASSIGN(info.verified_at, txn.verified_at(digest));
        info.damage = std::move(damage.message);
        all.push_back(std::move(info));
    }
    return all;
}

Result<std::filesystem::path> FolderStore::manifest_file(std::string_view hex) const {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
    GOLDLINK_TRY_ASSIGN(const auto record, txn.version(digest));
    if (!record) return no_such_version(digest);
    return manifest_path(digest);
}

Result<std::unique_ptr<VersionTransfer>> FolderStore::begin_transfer() {
    GOLDLINK_TRY_ASSIGN(auto writer, ChunkWriter::begin(*chunks_));
    VersionTransfer::Ends ends;
    ends.finish = [this](ChunkWriter& all, const Manifest& manifest) {
        return finish(all, manifest);
    };
    ends.mend = [this](ChunkWriter& all, const Manifest& manifest) { return mend(all, manifest); };
    return std::make_unique<VersionTransfer>(*chunks_, std::move(writer), std::move(ends));
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

Result<VersionInfo> FolderStore::finish(ChunkWriter& writer, const Manifest& manifest) {
    const Digest digest = manifest.digest();
    GOLDLINK_TRY(writer.flush());
    const auto lock = lock_open(digest);
    made_[digest] = ++made_count_;  // before it can be listed
    const bool is_new = !has_version(digest);
    GOLDLINK_TRY_ASSIGN(const VersionRecord record,
                        writer.finish(manifest, digest, manifest_path(digest)));
    if (!is_new && !read_manifest(digest)) GOLDLINK_TRY(make_manifest_anew(digest, manifest));
    return info_of(digest, record);
}

bool FolderStore::has_version(const Digest& digest) const {
    const auto txn = chunks_->index().begin_read();
    if (!txn) return false;
    const auto record = txn->version(digest);
    return record && record->has_value();
}

// Tells the open versions.
void FolderStore::tell(const std::vector<ChunkPlace>& chunks, bool bad) {
    std::unordered_set<ChunkLocation> locations;
    for (const ChunkPlace& place : chunks)
        if (is_stored(place.location)) locations.insert(place.location);
    const std::lock_guard lock(open_mutex_);
    for (const auto& [digest, open] : open_)
        if (const auto version = open.lock()) version->change(locations, bad, chunks_->packs());
}

Result<VersionInfo> FolderStore::import(const ImportRequest& request, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const auto source, ImageSource::open(request, folder_ / "spool", progress));
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_));
    GOLDLINK_TRY_ASSIGN(const Manifest manifest,
                        import_raw(source->raw_fd(), source->name(), *writer, progress));
    return finish(*writer, manifest);
}

Result<VersionInfo> FolderStore::make_blank(std::uint64_t size_bytes) {
    if (size_bytes == 0 || size_bytes % 512 != 0 || size_bytes > kMaxBlankBytes)
        return failure(ErrorKind::invalid,
                       fmt::format("a blank disk has whole blocks of 512 bytes and at most {} "
                                   "bytes, not {}",
                                   kMaxBlankBytes, size_bytes));
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_));
    Manifest manifest;
    manifest.size_bytes = size_bytes;
    manifest.chunks.resize(chunk_count_of(size_bytes));
    return finish(*writer, manifest);
}

Result<VersionInfo> FolderStore::grow(std::string_view hex, std::uint64_t size_bytes) {
    GOLDLINK_TRY_ASSIGN(const auto version, read_version(hex));  // its chunks stay
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_));
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, grow_manifest(*version, size_bytes, *writer));
    return finish(*writer, manifest);
}

Result<Digest> FolderStore::export_version(std::string_view hex, const std::filesystem::path& file,
                                           const std::string& format, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Digest digest, parse_digest(hex));
    GOLDLINK_TRY_ASSIGN(const auto version, open_version(hex));  // keeps it from being removed
    GOLDLINK_TRY_ASSIGN(const Manifest manifest, read_manifest(digest));
    return export_manifest(manifest, *chunks_, file, format, folder_ / "spool", progress);
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
    if (const int error = chunks_->storage().remove(manifest_path(digest)); error < 0)
        log::warn("manifest {} stays for now: {}", to_hex(digest), std::strerror(-error));
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

// Those that the index does not name. While they are looked for, nobody makes a version.
Result<std::vector<LeftFile>> FolderStore::left_manifests(bool remove) {
    Storage& storage = chunks_->storage();
    const auto folder = folder_ / "manifests";
    const std::lock_guard lock(open_mutex_);
    std::vector<std::string> names;
    if (const int error = storage.list(folder, names); error < 0)
        return system_failure(fmt::format("cannot list {}", folder.string()), -error);
    std::sort(names.begin(), names.end());
    GOLDLINK_TRY_ASSIGN(const auto txn, chunks_->index().begin_read());
    std::vector<LeftFile> left;
    for (const std::string& name : names) {
        if (const auto digest = parse_digest(name)) {
            if (removing_.contains(*digest)) continue;
            GOLDLINK_TRY_ASSIGN(const auto record, txn.version(*digest));
            if (record) continue;
        }
        const int fd = storage.open_read_only(folder / name);
        const std::int64_t size = fd < 0 ? fd : storage.size(fd);
        if (fd >= 0) storage.close(fd);
        if (remove)
            if (const int error = storage.remove(folder / name); error < 0) {
                log::warn("manifest {} stays for now: {}", name, std::strerror(-error));
                continue;
            }
        left.push_back({name, static_cast<std::uint64_t>(std::max<std::int64_t>(size, 0))});
    }
    return left;
}

Result<VersionInfo> FolderStore::commit(
    std::string_view base_hex, const std::vector<std::uint64_t>& changed_chunks,
    const std::function<Result<>(std::uint64_t, std::uint8_t*)>& read, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Digest base, parse_digest(base_hex));
    GOLDLINK_TRY_ASSIGN(const auto base_open, open_version(base_hex));  // its chunks stay
    GOLDLINK_TRY_ASSIGN(Manifest manifest, read_manifest(base));
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_));
    progress.total_bytes = changed_chunks.size() * kChunkBytes;
    std::vector<std::uint8_t> chunk(kChunkBytes);
    Hasher hasher;
    for (const std::uint64_t index : changed_chunks) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the commit was cancelled");
        if (index >= manifest.chunks.size())
            return failure(ErrorKind::invalid,
                           fmt::format("chunk {} is past the end of version {}", index, base_hex));
        std::fill(chunk.begin(), chunk.end(), std::uint8_t{0});
        GOLDLINK_TRY(read(index * kChunkBytes, chunk.data()));
        // What lies past the disk's end stays zero, or equal disks would differ in their digests.
        const std::uint64_t valid =
            std::min(kChunkBytes, manifest.size_bytes - index * kChunkBytes);
        std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(valid), chunk.end(), std::uint8_t{0});
        GOLDLINK_TRY_ASSIGN(manifest.chunks[index], writer->store(chunk.data(), hasher));
        progress.done_bytes += kChunkBytes;
    }
    return finish(*writer, manifest);
}

std::uint64_t FolderStore::free_bytes() const {
    return chunks_->storage().space(folder_).free_bytes;
}

}  // namespace

Result<std::unique_ptr<ImageStore>> ImageStore::open(const std::filesystem::path& folder,
                                                     std::uint64_t resident_budget_bytes,
                                                     Storage& storage) {
    GOLDLINK_TRY(make_directories(folder));
    FileDescriptor lock(::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!lock) return system_failure(fmt::format("cannot open {}", (folder / "lock").string()));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return failure(
                ErrorKind::conflict,
                fmt::format("the image store {} is in use by another process; stop it, or "
                            "give this one another state folder",
                            folder.string()));
        return system_failure(fmt::format("cannot lock {}", (folder / "lock").string()));
    }
    GOLDLINK_TRY(check_format(folder));
    const auto manifests = folder / "manifests";
    if (const int error = storage.make_folder(manifests); error < 0)
        return system_failure(fmt::format("cannot create folder {}", manifests.string()), -error);
    GOLDLINK_TRY_ASSIGN(auto chunks, ChunkStore::open(folder, resident_budget_bytes, storage));
    auto store = std::make_unique<FolderStore>(folder, std::move(lock), std::move(chunks));
    GOLDLINK_TRY(store->tidy());
    return store;
}

}  // namespace goldlink::store
