#include "target/store/standby_store.hpp"

#include "target/store/arriving_disk.hpp"
#include "target/store/garbage.hpp"
#include "target/store/storage.hpp"
#include "target/store/version_reader.hpp"
#include "target/store/version_transfer.hpp"

namespace goldlink::store {

StandbyStore::StandbyStore(std::filesystem::path folder, std::uint64_t resident_budget_bytes,
                           SpaceAccount& space, std::function<Result<>()> is_there)
    : folder_(std::move(folder)),
      resident_budget_bytes_(resident_budget_bytes),
      space_(space),
      is_there_(std::move(is_there)) {}

StandbyStore::~StandbyStore() = default;

bool StandbyStore::try_open() {
    if (usable()) return true;
    const auto refused = [this](Error error) {
        const std::lock_guard lock(mutex_);
        error_ = std::move(error);
        return false;
    };
    if (is_there_)
        if (auto there = is_there_(); !there) return refused(std::move(there).error());
    auto opened = ImageStore::open(folder_, resident_budget_bytes_, posix_storage(), &space_);
    if (!opened) return refused(std::move(opened).error());
    owned_ = std::move(*opened);
    store_.store(owned_.get(), std::memory_order_release);
    return true;
}

// Repeating may help, whatever it is: it is looked at again.
Result<ImageStore*> StandbyStore::usable_store() const {
    if (ImageStore* const there = store()) return there;
    const std::lock_guard lock(mutex_);
    return Failure(Error{ErrorKind::unavailable, error_.message, error_.errno_value});
}

std::string StandbyStore::problem() const {
    if (const ImageStore* const there = store()) return there->problem();
    const std::lock_guard lock(mutex_);
    return error_.message;
}

Result<std::shared_ptr<const Version>> StandbyStore::open_version(std::string_view digest) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->open_version(digest);
}

Result<std::unique_ptr<const VersionReader>> StandbyStore::read_version(std::string_view digest) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->read_version(digest);
}

Result<std::filesystem::path> StandbyStore::manifest_file(std::string_view digest) const {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->manifest_file(digest);
}

Result<std::vector<std::uint8_t>> StandbyStore::read_chunks(Bytes digests) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->read_chunks(digests);
}

Result<> StandbyStore::pass_chunks(Bytes digests, const std::function<Result<>(Bytes)>& take) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->pass_chunks(digests, take);
}

Result<std::unique_ptr<VersionTransfer>> StandbyStore::begin_transfer() {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->begin_transfer();
}

Result<std::unique_ptr<ArrivingDisk>> StandbyStore::begin_arrival(FileDescriptor fd,
                                                                  std::uint64_t file_bytes) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->begin_arrival(std::move(fd), file_bytes);
}

Result<std::vector<VersionInfo>> StandbyStore::list() const {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->list();
}

Result<VersionInfo> StandbyStore::import(const ImportRequest& request, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->import(request, progress);
}

Result<VersionInfo> StandbyStore::make_blank(std::uint64_t size_bytes) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->make_blank(size_bytes);
}

Result<VersionInfo> StandbyStore::grow(std::string_view digest, std::uint64_t size_bytes) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->grow(digest, size_bytes);
}

Result<Digest> StandbyStore::export_version(std::string_view digest,
                                            const std::filesystem::path& file,
                                            const std::string& format, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->export_version(digest, file, format, progress);
}

Result<std::vector<VerifyFinding>> StandbyStore::verify(std::string_view digest, Progress& progress,
                                                        const Pace& pace) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->verify(digest, progress, pace);
}

Result<RepairResult> StandbyStore::repair(std::string_view digest, const ImportRequest& request,
                                          Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->repair(digest, request, progress);
}

Result<> StandbyStore::recheck_bad_chunks(Progress& progress) {
    ImageStore* const there = store();  // without one nothing is known to be bad
    return there == nullptr ? Result<>() : there->recheck_bad_chunks(progress);
}

std::uint64_t StandbyStore::damage_revision() const {
    const ImageStore* const there = store();
    return there == nullptr ? 1 : 1 + there->damage_revision();
}

Result<> StandbyStore::remove(std::string_view digest, std::uint64_t made_until) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->remove(digest, made_until);
}

std::uint64_t StandbyStore::made_count() const {
    const ImageStore* const there = store();
    return there == nullptr ? 0 : there->made_count();
}

std::uint64_t StandbyStore::made_at(std::string_view digest) const {
    const ImageStore* const there = store();
    return there == nullptr ? 0 : there->made_at(digest);
}

Result<StoreGarbage> StandbyStore::garbage(const std::vector<std::string>& leaving) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->garbage(leaving);
}

Result<> StandbyStore::collect_left_overs(StoreGarbage& went, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->collect_left_overs(went, progress);
}

Result<> StandbyStore::drop_empty_packs(StoreGarbage& went) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->drop_empty_packs(went);
}

Result<VersionInfo> StandbyStore::commit(
    std::string_view base_digest, const std::vector<std::uint64_t>& changed_chunks,
    const std::function<Result<>(std::uint64_t, std::uint8_t*)>& read, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->commit(base_digest, changed_chunks, read, progress);
}

std::uint64_t StandbyStore::free_bytes() const {
    const ImageStore* const there = store();
    return there == nullptr ? posix_storage().space(folder_).free_bytes : there->free_bytes();
}

Result<> StandbyStore::pin(const std::vector<PinWish>& wishes, Progress& progress) {
    GOLDLINK_TRY_ASSIGN(auto* const there, usable_store());
    return there->pin(wishes, progress);
}

std::vector<PinnedVersion> StandbyStore::pinned() const {
    const ImageStore* const there = store();
    return there == nullptr ? std::vector<PinnedVersion>() : there->pinned();
}

std::uint64_t StandbyStore::resident_bytes() const {
    const ImageStore* const there = store();
    return there == nullptr ? 0 : there->resident_bytes();
}

std::uint64_t StandbyStore::pinned_bytes() const {
    const ImageStore* const there = store();
    return there == nullptr ? 0 : there->pinned_bytes();
}

}  // namespace goldlink::store
