#include "target/store/image_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "common/log.hpp"
#include "target/store/folder_store.hpp"
#include "target/store/grow.hpp"
#include "target/store/image_source.hpp"
#include "target/store/manifest_file.hpp"
#include "target/store/raw_export.hpp"
#include "target/store/raw_import.hpp"
#include "target/store/version_reader.hpp"

namespace goldlink::store {

namespace {

constexpr std::string_view kFormat = "goldlink image store 1\n";

VersionInfo info_of(const Digest& digest, const VersionRecord& record) {
    return {to_hex(digest),
            record.size_bytes,
            record.stored_chunks * kChunkBytes,
            record.unique_chunks * kChunkBytes,
            0,
            0,
            {}};
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

}  // namespace

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
