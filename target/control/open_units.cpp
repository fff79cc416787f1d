#include "target/control/open_units.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/rand.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <map>

#include "common/check.hpp"
#include "common/file.hpp"
#include "common/log.hpp"
#include "target/control/identity.hpp"
#include "target/control/unit_state_file.hpp"

namespace goldlink::control {

std::filesystem::path OverlaySettings::folder(std::string_view link_id,
                                              std::string_view overlay) const {
    return root / link_id / overlay;
}

std::filesystem::path OverlaySettings::ram_folder(std::string_view link_id,
                                                  std::string_view overlay) const {
    return ram_root.empty() ? std::filesystem::path() : ram_root / link_id / overlay;
}

Result<> OverlaySettings::check_folders(bool ram, bool holds_data) const {
    if (identity == nullptr) return {};
    GOLDLINK_TRY(identity->check(root, FolderKind::overlays, holds_data));
    return ram && !ram_root.empty() ? identity->check(ram_root, FolderKind::ram) : Result<>();
}

namespace {

constexpr std::uint32_t kCdromBlockBytes = 2048;
constexpr std::uint32_t kSectorBytes = 512, kNativeBlockBytes = 4096;

bool has_gpt_at(const store::Version& version, std::uint64_t offset_bytes) {
    constexpr std::string_view kSignature = "EFI PART";  // UEFI 5.3.2: of the header in block 1
    const auto location = version.location(0);
    if (!store::is_stored(location)) return false;
    std::array<char, 8> found{};
    const auto at = store::Version::slot_offset_bytes(location) + offset_bytes;
    return ::pread(version.pack_fd(location), found.data(), found.size(), static_cast<off_t>(at)) ==
               static_cast<ssize_t>(found.size()) &&
           std::string_view(found.data(), found.size()) == kSignature;
}

// A GPT made for blocks of another size is not found: the disk would look empty. (An MBR does not
// say what it was made for.)
Result<> check_partition_table(const store::Version& version, const DiskState& disk) {
    const std::uint32_t own = disk.logical_block_bytes;
    const std::uint32_t other = own == kSectorBytes ? kNativeBlockBytes : kSectorBytes;
    if (!has_gpt_at(version, other) || has_gpt_at(version, own)) return {};
    return failure(
        ErrorKind::conflict,
        fmt::format("version {} of lun {} has a partition table made for blocks of {} bytes, which "
                    "nobody would find on blocks of {}; serve it with logical_block_bytes {} "
                    "({})",
                    disk.version, disk.lun, other, own, other,
                    other == kNativeBlockBytes ? "--4kn" : "without --4kn"));
}

// A disk that was kept may have got a table of its client's own.
bool has_kept_blocks(const OverlaySettings& settings, std::string_view link_id,
                     const DiskState& disk) {
    std::error_code error;
    return disk.policy != disk::Policy::discard &&
           std::filesystem::exists(settings.folder(link_id, disk.overlay), error);
}

}  // namespace

Result<UnitsPlan> plan_units(store::ImageStore& store, std::string_view link_id,
                             std::string_view iqn, const GenerationState& generation,
                             const OverlaySettings& settings) {
    UnitsPlan plan{std::string(link_id), std::string(iqn), generation, {}, 0};
    for (const DiskState& disk : generation.disks) {
        auto version = store.open_version(disk.version);
        if (!version)
            return Failure(std::move(version).error().with_context(
                fmt::format("cannot open version {} of lun {}", disk.version, disk.lun)));
        if (disk.type == DiskType::disk && !has_kept_blocks(settings, link_id, disk))
            GOLDLINK_TRY(check_partition_table(**version, disk));
        plan.versions.push_back(std::move(*version));
    }
    return plan;
}

namespace {

// What portals, sessions, the store and the control API need: a disk that took the last one would
// take all others along.
constexpr rlim_t kKeptDescriptors = 256;

// Descriptors are given from the lowest number on.
Result<> check_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
    const FileDescriptor probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlim_t kept = std::min(kKeptDescriptors, limit.rlim_cur / 4);
    if (probe && static_cast<rlim_t>(probe.get()) + kept < limit.rlim_cur) return {};
    return failure(ErrorKind::exhausted,
                   fmt::format("goldlink-target may have {} open files, and but for the {} that "
                               "serving needs these are in use; give it more (LimitNOFILE in its "
                               "service, 'ulimit -n' of a shell) and start it again",
                               limit.rlim_cur, kept));
}

Result<std::shared_ptr<OpenDisk>> open_disk(const UnitsPlan& plan, std::size_t index,
                                            const OverlaySettings& settings,
                                            reactor::IoRing& ring) {
    const DiskState& state = plan.generation.disks[index];
    if (state.type == DiskType::cdrom)
        return std::make_shared<OpenDisk>(
            state, disk::LinkDisk::open_read_only(plan.versions[index], kCdromBlockBytes, ring));
    GOLDLINK_TRY(check_descriptors());
    disk::LinkDiskOptions options;
    options.version = plan.versions[index];
    options.policy = state.policy;
    options.owner = plan.link_id;
    options.folder = settings.folder(plan.link_id, state.overlay);
    options.quota_bytes = state.quota_bytes;
    options.reserve_bytes = settings.reserve_bytes;
    options.logical_block_bytes = state.logical_block_bytes;
    options.must_exist = state.made;
    if (state.policy == disk::Policy::discard) {
        options.ram_folder = settings.ram_folder(plan.link_id, state.overlay);
        options.ram_budget_bytes = plan.ram_budget_bytes;
    }
    auto opened = disk::LinkDisk::open(std::move(options), ring);
    if (!opened)
        return Failure(std::move(opened).error().with_context(
            fmt::format("cannot open overlay {} of lun {}", state.overlay, state.lun)));
    return std::make_shared<OpenDisk>(state, std::move(*opened));
}

void listen_to(OpenDisk& disk, const OpenUnits::DiskListener& listener) {
    if (disk.state.type == DiskType::cdrom) return;
    disk.disk->on_storage_failed = [tell = listener.storage_failed, lun = disk.state.lun] {
        tell(lun);
    };
    disk.disk->on_space_warning = [tell = listener.space_warning, &disk](int percent) {
        tell(disk.state.lun, percent);
        for (const auto& user : disk.users)
            if (const auto units = user.lock()) units->device().space_warning(disk.state.lun);
    };
}

bool is_same(const DiskState& open, const DiskState& wanted) {
    return open.lun == wanted.lun && open.overlay == wanted.overlay &&
           open.version == wanted.version && open.type == wanted.type &&
           open.logical_block_bytes == wanted.logical_block_bytes;
}

std::shared_ptr<OpenDisk> shared_disk(const std::shared_ptr<OpenUnits>& running,
                                      const std::vector<std::weak_ptr<OpenDisk>>& held,
                                      const DiskState& state) {
    if (running)
        for (const auto& disk : running->disks())
            if (is_same(disk->state, state)) return disk;
    for (const auto& each : held)
        if (auto disk = each.lock(); disk && is_same(disk->state, state)) return disk;
    return nullptr;
}

}  // namespace

Result<> open_disks(UnitsPlan& plan, const OverlaySettings& settings, reactor::IoRing& ring) {
    const auto& disks = plan.generation.disks;
    plan.disks.resize(disks.size());
    plan.saved.resize(disks.size());
    for (std::size_t i = 0; i < disks.size(); ++i) {
        if (!plan.shared.disks[i]) {
            GOLDLINK_TRY_ASSIGN(plan.disks[i], open_disk(plan, i, settings, ring));
        }
        // Of a CD-ROM nothing is reserved or written: no state.
        if (plan.shared.device || disks[i].type == DiskType::cdrom) continue;
        GOLDLINK_TRY_ASSIGN(plan.saved[i],
                            load_unit_state(settings.folder(plan.link_id, disks[i].overlay)));
    }
    return {};
}

SharedUnits OpenUnits::shared(const UnitsPlan& plan, const std::shared_ptr<OpenUnits>& running,
                              const HeldDisks& held) {
    SharedUnits shared;
    bool device = running && running->iqn_ == plan.iqn &&
                  running->disks_.size() == plan.generation.disks.size();
    for (const DiskState& disk : plan.generation.disks) {
        shared.disks.push_back(shared_disk(running, held, disk) != nullptr);
        device = device && shared_disk(running, {}, disk) != nullptr;
    }
    shared.device = device;
    return shared;
}

std::shared_ptr<OpenUnits> OpenUnits::make(UnitsPlan plan, const OverlaySettings& settings,
                                           reactor::Reactor& reactor,
                                           const std::shared_ptr<OpenUnits>& running,
                                           const HeldDisks& held, const DiskListener& listener,
                                           const RunBehind& run_behind) {
    auto units = std::make_shared<OpenUnits>();
    for (std::size_t i = 0; i < plan.generation.disks.size(); ++i) {
        auto disk = shared_disk(running, held, plan.generation.disks[i]);
        if (!disk) {
            disk = std::move(plan.disks[i]);
            CHECK(disk != nullptr, "a disk is neither open nor shared");
            listen_to(*disk, listener);
        }
        units->disks_.push_back(std::move(disk));
    }
    for (const DiskState& disk : plan.generation.disks)
        units->set_quota(disk.lun, disk.quota_bytes);
    if (plan.shared.device) return running;
    units->iqn_ = plan.iqn;
    std::vector<scsi::LogicalUnitDefinition> definitions;
    for (std::size_t i = 0; i < units->disks_.size(); ++i) {
        const auto& disk = units->disks_[i];
        scsi::LogicalUnitDefinition definition;
        definition.lun = disk->state.lun;
        definition.identity.serial = serial_number(plan.link_id, disk->state.lun);
        definition.identity.naa = naa_identifier(plan.link_id, disk->state.lun);
        definition.disk = std::shared_ptr<disk::Disk>(disk, disk->disk.get());
        definition.restored = std::move(plan.saved[i]);
        if (disk->state.type == DiskType::cdrom) {
            definition.type = scsi::DeviceType::cdrom;
            definition.identity.product = "CD-ROM";
        }
        definitions.push_back(std::move(definition));
    }
    units->device_ = std::make_unique<scsi::Device>(
        plan.iqn, std::move(definitions), units->make_seams(plan, settings, reactor, run_behind));
    for (const auto& disk : units->disks_) {
        std::erase_if(disk->users, [](const auto& user) { return user.expired(); });
        disk->users.push_back(units);
    }
    return units;
}

scsi::DeviceSeams OpenUnits::make_seams(const UnitsPlan& plan, const OverlaySettings& settings,
                                        reactor::Reactor& reactor, const RunBehind& run_behind) {
    scsi::DeviceSeams seams;
    seams.wake = [&reactor, self = weak_from_this()] {
        reactor.post([self] {
            if (const auto alive = self.lock()) alive->device().run_background();
        });
    };
    seams.now_ms = [] {
        const auto since = std::chrono::steady_clock::now().time_since_epoch();
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
    };
    seams.fill_random = [](std::span<std::uint8_t> out) {
        CHECK(RAND_bytes(out.data(), static_cast<int>(out.size())) == 1,
              "the system's random generator fails");
    };
    std::map<std::uint16_t, std::filesystem::path> folders;
    for (const DiskState& disk : plan.generation.disks)
        folders[disk.lun] = settings.folder(plan.link_id, disk.overlay);
    seams.save = [&reactor, run_behind, folders, self = weak_from_this()](
                     std::uint16_t lun, const scsi::PersistentUnit& state, std::uint64_t ticket) {
        run_behind([&reactor, self, lun, ticket, state, folder = folders.at(lun)] {
            const auto saved = save_unit_state(folder, state);
            if (!saved)
                log::error("the persistent reservations of a disk are not saved: {}",
                           saved.error().message);
            reactor.post([self, lun, ticket, ok = saved.has_value()] {
                if (const auto alive = self.lock()) alive->device().saved(lun, ticket, ok);
            });
        });
    };
    return seams;
}

void OpenUnits::set_quota(std::uint16_t lun, std::uint64_t quota_bytes) {
    for (const auto& disk : disks_) {
        if (disk->state.lun != lun || disk->state.quota_bytes == quota_bytes) continue;
        disk->state.quota_bytes = quota_bytes;
        disk->disk->set_quota(quota_bytes);
    }
}

disk::OverlayUsage OpenUnits::usage() const {
    disk::OverlayUsage sum;
    for (const auto& disk : disks_) {
        const disk::OverlayUsage one = disk->disk->usage();
        sum.used_bytes += one.used_bytes;
        sum.quota_bytes += one.quota_bytes;
        sum.ram_bytes += one.ram_bytes;
        sum.journal_bytes += one.journal_bytes;
        sum.storage_failed = sum.storage_failed || one.storage_failed;
    }
    return sum;
}

disk::ReadCounters OpenUnits::counters() const {
    disk::ReadCounters sum;
    for (const auto& disk : disks_) {
        const disk::ReadCounters one = disk->disk->counters();
        sum.cache_hits += one.cache_hits;
        sum.cache_misses += one.cache_misses;
    }
    return sum;
}

}  // namespace goldlink::control
