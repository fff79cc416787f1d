#include "target/store/store_rebuild.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <map>

#include "common/file.hpp"
#include "target/store/manifest_file.hpp"
#include "target/store/packs.hpp"
#include "target/store/store_folder.hpp"

namespace goldlink::store {

namespace {

constexpr std::size_t kBatchChunks = 16384;
constexpr std::uint64_t kReadBytes = 4 << 20;

class Rebuild {
  public:
    using Report = std::function<void(std::uint64_t done, std::uint64_t total)>;
    Rebuild(const std::filesystem::path& folder, ChunkIndex& index, bool drop_unnamed,
            const Report& progress)
        : folder_(folder), index_(index), drop_unnamed_(drop_unnamed), progress_(progress) {}

    Result<RebuildReport> run(std::uint64_t store_id) {
        report_.unnamed_kept = !drop_unnamed_;
        GOLDLINK_TRY(find_packs());
        for (const auto& [number, file] : packs_) {
            auto read = read_pack(number, file);
            if (!read) report_.unusable_packs.push_back(read.error().message);
        }
        GOLDLINK_TRY(record());
        GOLDLINK_TRY(add_versions());
        GOLDLINK_TRY(settle_unnamed());
        GOLDLINK_TRY(place_missing());
        GOLDLINK_TRY(write_meta(store_id));
        return std::move(report_);
    }

  private:
    struct PackPath {
        std::filesystem::path path;
        std::uint64_t bytes = 0;
    };

    Result<> find_packs() {
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(folder_ / "packs", error)) {
            const std::string name = entry.path().filename().string();
            std::uint64_t number = 0;
            const auto [stop, wrong] =
                std::from_chars(name.data(), name.data() + name.size(), number, 16);
            if (wrong != std::errc() || name.size() != 13 || stop != name.data() + 8 ||
                !name.ends_with(".pack") || number > 0x7fffffffu)
                continue;
            struct stat status {};
            if (::stat(entry.path().c_str(), &status) != 0)
                return system_failure(fmt::format("cannot examine {}", entry.path().string()));
            packs_[number] = {entry.path(), static_cast<std::uint64_t>(status.st_size)};
            total_bytes_ += static_cast<std::uint64_t>(status.st_blocks) * 512;
        }
        if (error && error != std::errc::no_such_file_or_directory)
            return system_failure(fmt::format("cannot list {}", (folder_ / "packs").string()),
                                  error.value());
        return {};
    }

    // Holes are passed over.
    Result<> read_pack(std::uint64_t number, const PackPath& file) {
        const FileDescriptor fd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) return system_failure(fmt::format("cannot open pack {}", file.path.string()));
        std::vector<std::uint8_t> buffer(kReadBytes);
        const std::uint64_t end = std::min(file.bytes / kChunkBytes, kSlotsPerPack) * kChunkBytes;
        for (std::uint64_t at = 0; at < end;) {
            const off_t data = ::lseek(fd.get(), static_cast<off_t>(at), SEEK_DATA);
            if (data < 0 && errno == ENXIO) break;
            if (data >= 0) at = static_cast<std::uint64_t>(data) / kChunkBytes * kChunkBytes;
            if (at >= end) break;
            const std::size_t length = std::min(kReadBytes, end - at);
            GOLDLINK_TRY(read_slots(fd.get(), number, at, {buffer.data(), length}, file.path));
            at += length;
        }
        return {};
    }

    // A part that cannot be read keeps nothing else from being found.
    Result<> read_slots(int fd, std::uint64_t number, std::uint64_t at,
                        std::span<std::uint8_t> into, const std::filesystem::path& path) {
        const auto whole = read_at(fd, into, at, path.string());
        for (std::size_t i = 0; i + kChunkBytes <= into.size(); i += kChunkBytes) {
            const auto chunk = into.subspan(i, kChunkBytes);
            if (!whole || *whole < into.size()) {
                const auto one = read_at(fd, chunk, at + i, path.string());
                if (!one || *one < kChunkBytes) {
                    if (report_.unusable_packs.size() < 100)
                        report_.unusable_packs.push_back(
                            one ? fmt::format("{} ends at {}", path.string(), at + i)
                                : one.error().message);
                    continue;
                }
            }
            done_bytes_ += kChunkBytes;
            if (all_zero(chunk)) continue;
            found_.emplace_back(hasher_.hash(chunk),
                                number * kSlotsPerPack + (at + i) / kChunkBytes);
            if (found_.size() >= kBatchChunks) GOLDLINK_TRY(record());
        }
        if (progress_) progress_(done_bytes_, std::max(total_bytes_, done_bytes_));
        return {};
    }

    Result<> record() {
        std::sort(found_.begin(), found_.end());
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        for (const auto& [digest, slot] : found_) {
            GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(digest));
            if (!known) GOLDLINK_TRY(txn.put_chunk(digest, {slot, 0, 0}));
        }
        found_.clear();
        return txn.commit();
    }

    Result<> add_versions() {
        std::vector<std::pair<std::filesystem::file_time_type, Digest>> manifests;
        std::error_code error;
        const auto folder = folder_ / "manifests";
        for (const auto& entry : std::filesystem::directory_iterator(folder, error))
            if (const auto digest = parse_digest(entry.path().filename().string()))
                manifests.emplace_back(std::filesystem::last_write_time(entry.path(), error),
                                       *digest);
        if (error && error != std::errc::no_such_file_or_directory)
            return system_failure(fmt::format("cannot list {}", folder.string()), error.value());
        std::sort(manifests.begin(), manifests.end());
        for (const auto& [time, digest] : manifests) {
            auto manifest = read_manifest_file(posix_storage(), folder / to_hex(digest), digest);
            if (!manifest) {
                report_.unusable_manifests.push_back(manifest.error().message);
                GOLDLINK_TRY(add_damaged_version(digest));
                continue;
            }
            GOLDLINK_TRY(add_version(digest, *manifest));
        }
        return {};
    }

    // A version all the same, whose manifest is damaged: it can be repaired or removed by its name.
    Result<> add_damaged_version(const Digest& digest) {
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        GOLDLINK_TRY(txn.put_version(digest, {++version_number_, 0, 0, 0}));
        GOLDLINK_TRY(txn.commit());
        ++report_.versions;
        return {};
    }

    Result<> add_version(const Digest& digest, const Manifest& manifest) {
        VersionRecord record{++version_number_, manifest.size_bytes, 0, 0};
        record.stored_chunks = manifest.stored_chunks();
        const auto distinct = manifest.distinct_chunks();
        bool whole = true;
        for (std::size_t i = 0; i < distinct.size();) {
            GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
            const std::size_t end = std::min(distinct.size(), i + kBatchChunks);
            for (; i < end; ++i) {
                GOLDLINK_TRY_ASSIGN(const auto known, txn.chunk(distinct[i]));
                ChunkRecord updated = known.value_or(ChunkRecord{kNowhere, 0, 0});
                whole = whole && updated.slot != kNowhere;
                ++updated.version_count;
                updated.versions_xor ^= record.number;
                GOLDLINK_TRY(txn.put_chunk(distinct[i], updated));
            }
            GOLDLINK_TRY(txn.commit());
        }
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        GOLDLINK_TRY(txn.put_version(digest, record));
        GOLDLINK_TRY(txn.commit());
        ++report_.versions;
        if (!whole) report_.damaged_versions.push_back(to_hex(digest));
        return {};
    }

    // Counts what each version alone has, and what none has.
    Result<> settle_unnamed() {
        std::map<std::uint32_t, std::uint64_t> alone;
        std::vector<Digest> unnamed;
        {
            GOLDLINK_TRY_ASSIGN(const auto txn, index_.begin_read());
            GOLDLINK_TRY(txn.for_each_chunk(
                [&](const Digest& digest, const ChunkRecord& record) -> Result<> {
                    ++report_.chunks;
                    if (record.version_count == 1) ++alone[record.versions_xor];
                    if (record.slot == kNowhere) missing_.push_back(digest);
                    if (record.version_count == 0) {
                        ++report_.unnamed_chunks;
                        if (drop_unnamed_) unnamed.push_back(digest);
                    }
                    if (record.slot != kNowhere && !(drop_unnamed_ && record.version_count == 0))
                        used_.push_back(record.slot);
                    return {};
                }));
        }
        std::sort(used_.begin(), used_.end());
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        for (const Digest& digest : unnamed) GOLDLINK_TRY(txn.erase_chunk(digest));
        GOLDLINK_TRY_ASSIGN(const auto versions, txn.versions());
        for (const auto& [digest, record] : versions) {
            VersionRecord updated = record;
            updated.unique_chunks = alone[record.number];
            GOLDLINK_TRY(txn.put_version(digest, updated));
        }
        return txn.commit();
    }

    // Into free slots, which are then listed, and beyond the last.
    Result<> place_missing() {
        const std::int64_t now = std::time(nullptr);
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        std::size_t placed = 0;
        const auto place = [&](std::uint64_t slot) -> Result<bool> {
            if (placed == missing_.size()) return false;
            const Digest& digest = missing_[placed++];
            GOLDLINK_TRY_ASSIGN(const auto record, txn.chunk(digest));
            ChunkRecord updated = record.value_or(ChunkRecord{});
            updated.slot = slot;
            GOLDLINK_TRY(txn.put_chunk(digest, updated));
            GOLDLINK_TRY(txn.put_bad(digest, {BadReason::lost, now}));
            return true;
        };
        for (const std::uint64_t slot : used_) {
            for (; next_slot_ < slot; ++next_slot_) {
                GOLDLINK_TRY_ASSIGN(const bool taken, place(next_slot_));
                if (!taken) GOLDLINK_TRY(txn.put_free(next_slot_));
            }
            next_slot_ = slot + 1;
        }
        for (bool more = true; more;) {
            GOLDLINK_TRY_ASSIGN(more, place(next_slot_));
            if (more) ++next_slot_;
        }
        return txn.commit();
    }

    Result<> write_meta(std::uint64_t store_id) {
        GOLDLINK_TRY_ASSIGN(auto txn, index_.begin_write());
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextSlot, next_slot_));
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kNextVersion, version_number_));
        GOLDLINK_TRY(txn.put_meta(ChunkIndex::kKnowsPending, 1));
        if (store_id != 0) GOLDLINK_TRY(txn.put_meta(ChunkIndex::kStoreId, store_id));
        return txn.commit();
    }

    static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

    const std::filesystem::path& folder_;
    ChunkIndex& index_;
    const bool drop_unnamed_;
    const Report& progress_;
    RebuildReport report_;
    std::map<std::uint64_t, PackPath> packs_;
    std::uint64_t total_bytes_ = 0, done_bytes_ = 0;
    std::vector<std::pair<Digest, std::uint64_t>> found_;
    std::vector<std::uint64_t> used_;
    std::vector<Digest> missing_;
    std::uint32_t version_number_ = 0;
    std::uint64_t next_slot_ = 0;
    Hasher hasher_;
};

// Of index.before-1, -2, ... the first that is free.
std::filesystem::path free_name(const std::filesystem::path& folder) {
    std::error_code error;
    for (unsigned i = 1;; ++i) {
        auto name = folder / fmt::format("index.before-{}", i);
        if (!std::filesystem::exists(name, error)) return name;
    }
}

Result<> rename_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    if (error)
        return system_failure(fmt::format("cannot rename {} to {}", from.string(), to.string()),
                              error.value());
    return sync_folder_of(to);
}

// Root makes it for whom the server runs as.
void give_to_owner(const std::filesystem::path& folder, const std::filesystem::path& made) {
    struct stat owner {};
    if (::geteuid() != 0 || ::stat(folder.c_str(), &owner) != 0) return;
    std::error_code error;
    (void)!::lchown(made.c_str(), owner.st_uid, owner.st_gid);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(made, error))
        (void)!::lchown(entry.path().c_str(), owner.st_uid, owner.st_gid);
}

}  // namespace

Result<RebuildReport> rebuild_index(
    const std::filesystem::path& folder, bool drop_unnamed,
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error))
        return failure(ErrorKind::not_found, fmt::format("there is no image store {}: is its disk "
                                                         "mounted, and --state-dir right?",
                                                         folder.string()));
    GOLDLINK_TRY_ASSIGN(const auto lock, lock_store(folder));
    StoreContents contents;
    auto looked = look_into_store(folder, posix_storage());
    if (looked) contents = *looked;  // a damaged `id` is made anew below
    if (looked && contents.packs + contents.manifests == 0)
        return failure(ErrorKind::not_found,
                       fmt::format("there are no packs and no manifests in {} to make an index "
                                   "from: is its disk mounted?",
                                   folder.string()));
    if (std::filesystem::exists(folder / "format", error))
        GOLDLINK_TRY(check_store_format(folder, contents));
    const auto fresh = folder / "index.rebuilding";
    std::filesystem::remove_all(fresh, error);  // of a rebuild that was killed
    RebuildReport report;
    {
        GOLDLINK_TRY_ASSIGN(const auto index, ChunkIndex::open(fresh));
        Rebuild rebuild(folder, *index, drop_unnamed, progress);
        GOLDLINK_TRY_ASSIGN(report, rebuild.run(contents.id.value_or(0)));
    }
    if (std::filesystem::exists(folder / "index", error)) {
        report.set_aside = free_name(folder);
        GOLDLINK_TRY(rename_folder(folder / "index", report.set_aside));
    }
    give_to_owner(folder, fresh);
    GOLDLINK_TRY(rename_folder(fresh, folder / "index"));
    if (!looked) std::filesystem::remove(id_file_of(folder), error);
    GOLDLINK_TRY(goldlink::replace_file(folder / "format", kStoreFormat));
    for (const char* const made : {"format", "lock"}) give_to_owner(folder, folder / made);
    return report;
}

}  // namespace goldlink::store
