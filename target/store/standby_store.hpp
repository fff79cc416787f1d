// StandbyStore: the image store of a target that serves what it can. While the store in its folder
// cannot be used, every call is refused with the reason; try_open() looks again, and from when it
// succeeds on, every call goes to the store that it opened. Never closes it again.
//
// Nothing is held of a store that cannot be used, so that it can be mended meanwhile
// (store_rebuild.hpp). Threads: any; try_open() by one at a time.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "target/store/image_store.hpp"

namespace goldlink::store {

class StandbyStore final : public ImageStore {
  public:
    // `is_there`: whether the folder is the one it should be, asked before it is opened; an empty
    // one would be taken for a new store.
    StandbyStore(std::filesystem::path folder, std::uint64_t resident_budget_bytes,
                 SpaceAccount& space, std::function<Result<>()> is_there = {});
    ~StandbyStore() override;

    bool usable() const { return store_.load(std::memory_order_acquire) != nullptr; }
    // True when it is usable now. What keeps it from it is in problem().
    bool try_open();

    std::string problem() const override;
    Result<std::shared_ptr<const Version>> open_version(std::string_view digest) override;
    Result<std::unique_ptr<const VersionReader>> read_version(std::string_view digest) override;
    Result<std::filesystem::path> manifest_file(std::string_view digest) const override;
    Result<std::vector<std::uint8_t>> read_chunks(Bytes digests) override;
    Result<> pass_chunks(Bytes digests, const std::function<Result<>(Bytes)>& take) override;
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
    std::uint64_t damage_revision() const override;
    using ImageStore::remove;
    Result<> remove(std::string_view digest, std::uint64_t made_until) override;
    std::uint64_t made_count() const override;
    std::uint64_t made_at(std::string_view digest) const override;
    Result<StoreGarbage> garbage(const std::vector<std::string>& leaving) override;
    Result<> collect_left_overs(StoreGarbage& went, Progress& progress) override;
    Result<> drop_empty_packs(StoreGarbage& went) override;
    Result<VersionInfo> commit(std::string_view base_digest,
                               const std::vector<std::uint64_t>& changed_chunks,
                               const std::function<Result<>(std::uint64_t, std::uint8_t*)>& read,
                               Progress& progress) override;
    std::uint64_t free_bytes() const override;
    Result<> pin(const std::vector<PinWish>& wishes, Progress& progress) override;
    std::vector<PinnedVersion> pinned() const override;
    std::uint64_t resident_bytes() const override;
    std::uint64_t pinned_bytes() const override;

  private:
    // The store, or why there is none.
    Result<ImageStore*> usable_store() const;
    ImageStore* store() const { return store_.load(std::memory_order_acquire); }

    const std::filesystem::path folder_;
    const std::uint64_t resident_budget_bytes_;
    SpaceAccount& space_;
    const std::function<Result<>()> is_there_;
    std::atomic<ImageStore*> store_{nullptr};
    std::unique_ptr<ImageStore> owned_;
    mutable std::mutex mutex_;  // guards error_
    Error error_{ErrorKind::unavailable, "the image store is not open yet", 0};
};

}  // namespace goldlink::store
