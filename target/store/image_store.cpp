#include "target/store/image_store.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

#include "common/log.hpp"
#include "target/store/arriving_disk.hpp"
#include "target/store/folder_store.hpp"
#include "target/store/grow.hpp"
#include "target/store/image_source.hpp"
#include "target/store/manifest_file.hpp"
#include "target/store/new_data.hpp"
#include "target/store/raw_export.hpp"
#include "target/store/raw_import.hpp"
#include "target/store/store_folder.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::store {

namespace {

VersionInfo info_of(const Digest& digest, const VersionRecord& record) {
    return {to_hex(digest),
            record.size_bytes,
            record.stored_chunks * kChunkBytes,
            record.unique_chunks * kChunkBytes,
            0,
            0,
            {}};
}

}  // namespace

// Drops what a killed process left: spooled files, manifests of versions that were not finished.
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
    GOLDLINK_TRY_ASSIGN(auto space, claim(folder_ / "packs", 0, "the version that comes in"));
    GOLDLINK_TRY_ASSIGN(auto writer, ChunkWriter::begin(*chunks_, std::move(space)));
    VersionTransfer::Ends ends;
    ends.finish = [this](ChunkWriter& all, const Manifest& manifest) {
        return finish(all, manifest);
    };
    ends.mend = [this](ChunkWriter& all, const Manifest& manifest) { return mend(all, manifest); };
    return std::make_unique<VersionTransfer>(*chunks_, std::move(writer), std::move(ends));
}

Result<std::unique_ptr<ArrivingDisk>> FolderStore::begin_arrival(FileDescriptor fd,
                                                                 std::uint64_t file_bytes) {
    GOLDLINK_TRY_ASSIGN(auto space,
                        claim(folder_ / "packs", file_bytes, "storing a file while it comes"));
    GOLDLINK_TRY_ASSIGN(auto writer, ChunkWriter::begin(*chunks_, std::move(space)));
    auto disk = std::make_unique<ArrivingDisk>(std::move(fd), file_bytes, std::move(writer));
    GOLDLINK_TRY(disk->start());
    return disk;
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

Result<VersionInfo> FolderStore::import(const ImportRequest& request, Progress& progress) {
    const std::string what = "the import of " + request.file.filename().string();
    GOLDLINK_TRY_ASSIGN(auto spool_space, claim(folder_ / "spool", 0, what));
    progress.space = spool_space ? &*spool_space : nullptr;
    const auto opened = ImageSource::open(request, folder_ / "spool", progress);
    progress.space = nullptr;
    if (!opened) return Failure(opened.error());
    const auto& source = *opened;
    if (request.arriving != nullptr && request.arriving->is_of(source->raw_fd())) {
        const auto manifest = request.arriving->manifest(progress);
        if (manifest) {
            GOLDLINK_TRY(source->check_unchanged());
            return finish(request.arriving->writer(), **manifest);
        }
        if (progress.cancel) return Failure(manifest.error());
        progress.done_bytes = 0;
    }
    GOLDLINK_TRY_ASSIGN(auto space, claim_for(source->raw_fd(), what, progress));
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_, std::move(space)));
    GOLDLINK_TRY_ASSIGN(const Manifest manifest,
                        import_raw(source->raw_fd(), source->name(), *writer, progress));
    GOLDLINK_TRY(source->check_unchanged());
    return finish(*writer, manifest);
}

Result<std::optional<SpaceClaim>> FolderStore::claim(const std::filesystem::path& folder,
                                                     std::uint64_t bytes, std::string what) {
    if (space_ == nullptr) return std::optional<SpaceClaim>();
    GOLDLINK_TRY_ASSIGN(auto claimed, space_->claim(folder, bytes, std::move(what)));
    return std::optional(std::move(claimed));
}

// All of the file's data, and where that does not fit only what of it is new to the store.
Result<std::optional<SpaceClaim>> FolderStore::claim_for(int fd, const std::string& what,
                                                         const Progress& progress) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return system_failure("cannot examine the file of " + what);
    const std::uint64_t data = std::min(static_cast<std::uint64_t>(status.st_blocks) * 512,
                                        static_cast<std::uint64_t>(status.st_size) + kChunkBytes);
    const auto packs = folder_ / "packs";
    auto all = claim(packs, data, what);
    if (all || all.error().kind != ErrorKind::exhausted) return all;
    GOLDLINK_TRY_ASSIGN(const std::uint64_t fresh, new_bytes_of(fd, what, *chunks_, progress));
    return claim(packs, fresh, what);
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
    // The file, and beside the store the raw disk that a conversion reads.
    const std::uint64_t data = manifest.stored_chunks() * kChunkBytes;
    const auto what = fmt::format("the export of {} bytes of data", data);
    GOLDLINK_TRY_ASSIGN(auto space,
                        claim(std::filesystem::absolute(file).parent_path(), data, what));
    std::optional<SpaceClaim> spool_space;
    if (!format.starts_with("raw")) {
        GOLDLINK_TRY_ASSIGN(auto claimed, claim(folder_ / "spool", data, what));
        if (claimed) spool_space.emplace(std::move(*claimed));
    }
    progress.space = space ? &*space : nullptr;
    auto digest_of_file =
        export_manifest(manifest, *chunks_, file, format, folder_ / "spool", progress);
    progress.space = nullptr;
    return digest_of_file;
}

Result<VersionInfo> FolderStore::commit(
    std::string_view base_hex, const std::vector<std::uint64_t>& changed_chunks,
    const std::function<Result<>(std::uint64_t, std::uint8_t*)>& read, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const Digest base, parse_digest(base_hex));
    GOLDLINK_TRY_ASSIGN(const auto base_open, open_version(base_hex));  // its chunks stay
    GOLDLINK_TRY_ASSIGN(Manifest manifest, read_manifest(base));
    GOLDLINK_TRY_ASSIGN(auto space, claim(folder_ / "packs", changed_chunks.size() * kChunkBytes,
                                          "what was written to the disk"));
    GOLDLINK_TRY_ASSIGN(const auto writer, ChunkWriter::begin(*chunks_, std::move(space)));
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
        GOLDLINK_TRY_ASSIGN(const Digest stored, writer->store(chunk.data(), hasher));
        manifest.chunks.set(index, stored);
        progress.done_bytes += kChunkBytes;
    }
    return finish(*writer, manifest);
}

namespace {

// Of a store of before `pending`: what its index does not name was left by a kill. Nothing says so,
// therefore it is moved aside and not removed.
Result<> begin_to_know_manifests(const std::filesystem::path& folder, ChunkIndex& index,
                                 Storage& storage) {
    GOLDLINK_TRY_ASSIGN(const auto unknown, unknown_manifests(folder, index, storage));
    const auto aside = folder / "manifests.set-aside";
    if (!unknown.empty())
        if (const int error = storage.make_folder(aside); error < 0)
            return system_failure(fmt::format("cannot create folder {}", aside.string()), -error);
    for (const std::string& name : unknown) {
        if (const int error = storage.rename(folder / "manifests" / name, aside / name); error < 0)
            return system_failure(fmt::format("cannot move manifest {} aside", name), -error);
        log::warn("manifest {}, which the image store's index does not name, is now in {}", name,
                  aside.string());
    }
    GOLDLINK_TRY_ASSIGN(auto txn, index.begin_write());
    GOLDLINK_TRY(txn.put_meta(ChunkIndex::kKnowsPending, 1));
    return txn.commit();
}

Result<std::optional<Error>> refusal_of(const std::filesystem::path& folder, ChunkIndex& index,
                                        Storage& storage) {
    std::uint64_t knows = 0;
    {
        GOLDLINK_TRY_ASSIGN(const auto txn, index.begin_read());
        GOLDLINK_TRY_ASSIGN(knows, txn.meta(ChunkIndex::kKnowsPending));
    }
    if (knows == 0) GOLDLINK_TRY(begin_to_know_manifests(folder, index, storage));
    GOLDLINK_TRY_ASSIGN(const auto unknown, unknown_manifests(folder, index, storage));
    if (unknown.empty()) return std::optional<Error>();
    Error refusal = older_index(folder, unknown);
    log::error("{}", refusal.message);
    return std::optional(std::move(refusal));
}

}  // namespace

Result<std::unique_ptr<ImageStore>> ImageStore::open(const std::filesystem::path& folder,
                                                     std::uint64_t resident_budget_bytes,
                                                     Storage& storage, SpaceAccount* space) {
    GOLDLINK_TRY(make_directories(folder));
    GOLDLINK_TRY_ASSIGN(auto lock, lock_store(folder));
    GOLDLINK_TRY_ASSIGN(const StoreContents contents, look_into_store(folder, storage));
    GOLDLINK_TRY(check_store_format(folder, contents));
    GOLDLINK_TRY_ASSIGN(auto index, open_store_index(folder, contents));
    const auto manifests = folder / "manifests";
    if (const int error = storage.make_folder(manifests); error < 0)
        return system_failure(fmt::format("cannot create folder {}", manifests.string()), -error);
    GOLDLINK_TRY_ASSIGN(auto refusal, refusal_of(folder, *index, storage));
    auto chunks = ChunkStore::open(folder, std::move(index), resident_budget_bytes, storage,
                                   std::move(refusal));
    if (!chunks && chunks.error().kind == ErrorKind::corrupt)
        return bad_index(folder, chunks.error());
    if (!chunks) return Failure(std::move(chunks).error());
    auto store = std::make_unique<FolderStore>(folder, std::move(lock), std::move(*chunks), space);
    GOLDLINK_TRY(store->tidy());
    return store;
}

}  // namespace goldlink::store
