// FolderStore: the image store in a folder. It is in three files: image_store.cpp opens it, makes
// and reads versions; image_store_integrity.cpp finds and mends damage; image_store_space.cpp
// removes versions and what nothing needs. Threads and errors: as ImageStore's.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <unordered_map>

#include "common/file.hpp"
#include "target/store/chunk_check.hpp"
#include "target/store/damage_report.hpp"
#include "target/store/image_store.hpp"
#include "target/store/open_version.hpp"
#include "target/store/pinned_versions.hpp"
#include "target/store/space_account.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::store {

// The folder:  format      the line above; a later number is refused
//              lock        flock()ed while a process has the store open
//              id          which index is this store's (store_folder.hpp)
//              index/      ChunkIndex
//              packs/      Packs
//              manifests/  <digest>, one a version
//              spool/      what an import or export converts; emptied at open
class FolderStore final : public ImageStore {
  public:
    FolderStore(std::filesystem::path folder, FileDescriptor lock,
                std::unique_ptr<ChunkStore> chunks, SpaceAccount* space)
        : folder_(std::move(folder)),
          lock_(std::move(lock)),
          chunks_(std::move(chunks)),
          space_(space) {
        chunks_->bad_chunks().on_change = [this](const std::vector<ChunkPlace>& changed, bool bad) {
            tell(changed, bad);
        };
    }

    Result<> tidy();

    std::string problem() const override {
        return chunks_->refusal() ? chunks_->refusal()->message : "";
    }

    Result<std::shared_ptr<const Version>> open_version(std::string_view digest) override;
    Result<std::unique_ptr<const VersionReader>> read_version(std::string_view digest) override;
    Result<std::filesystem::path> manifest_file(std::string_view digest) const override;
    Result<std::vector<std::uint8_t>> read_chunks(Bytes digests) override {
        return store::read_chunks(*chunks_, digests);
    }
    Result<> pass_chunks(Bytes digests, const std::function<Result<>(Bytes)>& take) override {
        return store::pass_chunks(*chunks_, digests, take);
    }
    Result<std::unique_ptr<VersionTransfer>> begin_transfer() override;
    Result<std::unique_ptr<ArrivingDisk>> begin_arrival(FileDescriptor fd,
                                                        std::uint64_t file_bytes) override;
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
    Result<std::optional<SpaceClaim>> claim(const std::filesystem::path& folder,
                                            std::uint64_t bytes, std::string what);
    Result<std::optional<SpaceClaim>> claim_for(int fd, const std::string& what,
                                                const Progress& progress);
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
    SpaceAccount* const space_;  // null: nobody counts

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

inline Failure no_such_version(const Digest& digest) {
    return failure(ErrorKind::not_found,
                   fmt::format("the image store has no version {}", to_hex(digest)));
}

}  // namespace goldlink::store
