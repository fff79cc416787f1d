#include "target/store/space_account.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

namespace goldlink::store {

namespace {

constexpr std::uint64_t kCheckEveryBytes = 16 << 20;

std::uint64_t filesystem_of(const std::filesystem::path& folder) {
    struct stat status {};
    return ::stat(folder.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_dev) : 0;
}

std::string mib(std::uint64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

SpaceClaim::SpaceClaim(SpaceClaim&& other) noexcept
    : account_(std::exchange(other.account_, nullptr)),
      folder_(std::move(other.folder_)),
      filesystem_(other.filesystem_),
      what_(std::move(other.what_)),
      unspent_bytes_(std::exchange(other.unspent_bytes_, 0)),
      unchecked_bytes_(other.unchecked_bytes_) {}

SpaceClaim::~SpaceClaim() {
    if (account_ == nullptr) return;
    const std::lock_guard lock(account_->mutex_);
    account_->claimed_[filesystem_] -= unspent_bytes_;
}

Result<> SpaceClaim::grow(std::uint64_t bytes) { return account_->add(*this, bytes); }

Result<> SpaceClaim::ensure(std::uint64_t bytes) {
    return bytes > unspent_bytes_ ? grow(bytes - unspent_bytes_) : Result<>();
}

Result<> SpaceClaim::spend(std::uint64_t bytes) {
    if (bytes > unspent_bytes_ && !ensure(std::max(bytes, kCheckEveryBytes)))
        GOLDLINK_TRY(ensure(bytes));
    {
        const std::lock_guard lock(account_->mutex_);
        unspent_bytes_ -= bytes;
        account_->claimed_[filesystem_] -= bytes;
    }
    unchecked_bytes_ += bytes;
    if (unchecked_bytes_ < kCheckEveryBytes) return {};
    unchecked_bytes_ = 0;
    return check();
}

Result<> SpaceClaim::check() { return account_->look(*this); }

void SpaceAccount::keep_free_at(const std::filesystem::path& folder) {
    const std::uint64_t filesystem = filesystem_of(folder);
    const std::lock_guard lock(mutex_);
    kept_.insert(filesystem);
}

Result<SpaceClaim> SpaceAccount::claim(const std::filesystem::path& folder, std::uint64_t bytes,
                                       std::string what) {
    SpaceClaim claim(*this, folder, filesystem_of(folder), std::move(what));
    GOLDLINK_TRY(claim.grow(bytes));
    return claim;
}

std::uint64_t SpaceAccount::kept_at(std::uint64_t filesystem) const {
    return kept_.contains(filesystem) ? 2 * reserve_bytes_ : 0;
}

Result<> SpaceAccount::add(SpaceClaim& claim, std::uint64_t bytes) {
    const std::uint64_t free = storage_.space(claim.folder_).free_bytes;
    const std::lock_guard lock(mutex_);
    std::uint64_t& claimed = claimed_[claim.filesystem_];
    const std::uint64_t taken = claimed + kept_at(claim.filesystem_);
    if (bytes > 0 && (taken > free || bytes > free - taken)) return refusal(claim, bytes, free);
    claimed += bytes;
    claim.unspent_bytes_ += bytes;
    return {};
}

Result<> SpaceAccount::look(const SpaceClaim& claim) {
    const std::uint64_t free = storage_.space(claim.folder_).free_bytes;
    const std::lock_guard lock(mutex_);
    if (free >= kept_at(claim.filesystem_)) return {};
    return refusal(claim, claim.unspent_bytes_, free);
}

Failure SpaceAccount::refusal(const SpaceClaim& claim, std::uint64_t needed,
                              std::uint64_t free) const {
    const std::uint64_t kept = kept_at(claim.filesystem_);
    const auto found = claimed_.find(claim.filesystem_);
    const std::uint64_t others =
        found == claimed_.end() ? 0 : found->second - std::min(found->second, claim.unspent_bytes_);
    std::string text = fmt::format("no space for {}: it needs {} in {}, of which {} are free",
                                   claim.what_, mib(needed), claim.folder_.string(), mib(free));
    if (kept > 0)
        text += fmt::format(
            ", and {} of these are kept for running PCs and the server's own files "
            "(twice --reserve)",
            mib(kept));
    if (others > 0) text += fmt::format(", {} are for other work that is under way", mib(others));
    return failure(ErrorKind::exhausted,
                   text +
                       "; remove versions that are not needed any more (\"goldlink gc\" says "
                       "which), or add space");
}

}  // namespace goldlink::store
