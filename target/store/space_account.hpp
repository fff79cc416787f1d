// SpaceAccount: one account of the disk for all that writes much of its own accord: uploads,
// conversions, imports, saves, commits, transfers, exports. What it will not be able to hold is
// refused before it begins.
//
// Of a filesystem that holds overlays or state, twice --reserve stays free of such work: the first
// is what overlays leave, the second is what running PCs still write while the admin makes space.
// A claim is for what is yet to be written; claims of one filesystem add up. Threads: any; a claim
// is used by one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "common/result.hpp"
#include "target/store/storage.hpp"

namespace goldlink::store {

class SpaceAccount;

class SpaceClaim {
  public:
    SpaceClaim(SpaceClaim&& other) noexcept;
    SpaceClaim& operator=(SpaceClaim&&) = delete;
    ~SpaceClaim();  // what was not spent is others' again

    // That much more is to be written. exhausted, with the figures, when it does not fit.
    Result<> grow(std::uint64_t bytes);
    // As grow(), but only by what is lacking until that much is unspent.
    Result<> ensure(std::uint64_t bytes);
    // Before that much is written. More than was claimed is claimed then; every few MiB the disk is
    // looked at, as others write to it, too.
    Result<> spend(std::uint64_t bytes);
    // Whether what stays free still is, for a child whose writing is not seen.
    Result<> check();

  private:
    friend class SpaceAccount;
    SpaceClaim(SpaceAccount& account, std::filesystem::path folder, std::uint64_t filesystem,
               std::string what)
        : account_(&account),
          folder_(std::move(folder)),
          filesystem_(filesystem),
          what_(std::move(what)) {}

    SpaceAccount* account_;  // null: moved from
    std::filesystem::path folder_;
    std::uint64_t filesystem_;
    std::string what_;
    std::uint64_t unspent_bytes_ = 0, unchecked_bytes_ = 0;
};

class SpaceAccount {
  public:
    explicit SpaceAccount(std::uint64_t reserve_bytes, Storage& storage = posix_storage())
        : reserve_bytes_(reserve_bytes), storage_(storage) {}

    // Space stays free on the filesystem of this folder, which is there.
    void keep_free_at(const std::filesystem::path& folder);
    // For writing `bytes` below `folder`. `what` begins the error: "the import of win11.raw".
    Result<SpaceClaim> claim(const std::filesystem::path& folder, std::uint64_t bytes,
                             std::string what);

  private:
    friend class SpaceClaim;
    Result<> add(SpaceClaim& claim, std::uint64_t bytes);
    Result<> look(const SpaceClaim& claim);
    std::uint64_t kept_at(std::uint64_t filesystem) const;
    Failure refusal(const SpaceClaim& claim, std::uint64_t needed, std::uint64_t free) const;

    const std::uint64_t reserve_bytes_;
    Storage& storage_;
    mutable std::mutex mutex_;
    std::set<std::uint64_t> kept_;                    // filesystems
    std::map<std::uint64_t, std::uint64_t> claimed_;  // by filesystem: bytes yet to be written
};

}  // namespace goldlink::store
