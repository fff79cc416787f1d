// OpenUnits: the logical units of one generation, open: a SCSI device over its link disks. Made,
// used and destroyed on the link's reactor, which waits for no storage for it: plan_units has
// opened the versions before, and open_disks the overlays, on a thread that may block. A disk is
// the reactor's from when it is handed over; one that never was is closed where it is let go.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "target/control/link_state.hpp"
#include "target/reactor/reactor.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::control {

class Identity;

// Where overlays live and what they may take; the same for all links.
struct OverlaySettings {
    std::filesystem::path root;          // root/{link id}/{overlay}
    std::filesystem::path ram_root;      // the same below a tmpfs, or empty
    std::uint64_t ram_budget_bytes = 0;  // of all discard disks together
    std::uint64_t reserve_bytes = 256ULL << 20;
    std::chrono::seconds keep_trash{std::chrono::hours(7 * 24)};  // kept disks of removed links
    Identity* identity = nullptr;  // which root and ram_root carry; null: nobody looks

    // Whether the folders are there that such overlays need. May block.
    Result<> check_folders(bool ram, bool holds_data = false) const;
    std::filesystem::path folder(std::string_view link_id, std::string_view overlay) const;
    std::filesystem::path ram_folder(std::string_view link_id, std::string_view overlay) const;
};

class OpenUnits;

struct OpenDisk {  // closes its disk when the last generation that uses it lets go
    DiskState state;
    std::unique_ptr<disk::LinkDisk> disk;         // never null
    std::vector<std::weak_ptr<OpenUnits>> users;  // whose devices have it as a unit

    OpenDisk(DiskState its_state, std::unique_ptr<disk::LinkDisk> opened)
        : state(std::move(its_state)), disk(std::move(opened)) {}
    ~OpenDisk() { disk->close(); }
};

// What of a plan the link has open already.
struct SharedUnits {
    std::vector<bool> disks;  // one a disk
    bool device = false;      // all of it, under the same name

    bool operator==(const SharedUnits&) const = default;
};

struct UnitsPlan {
    std::string link_id;
    std::string iqn;
    GenerationState generation;
    std::vector<std::shared_ptr<const store::Version>> versions;  // one a disk
    std::uint64_t ram_budget_bytes = 0;                           // of each discard disk
    // From the link's reactor, and what open_disks has made of it: disks that are not shared, and
    // what was saved of the units of a device that is not.
    SharedUnits shared = {};
    std::vector<std::shared_ptr<OpenDisk>> disks = {};
    std::vector<scsi::PersistentUnit> saved = {};
};

// May block (reads the store's index): not on a reactor. The error names the version. Refused: a
// disk whose partition table is of blocks of another size, unless it is kept and has blocks.
Result<UnitsPlan> plan_units(store::ImageStore& store, std::string_view link_id,
                             std::string_view iqn, const GenerationState& generation,
                             const OverlaySettings& settings);

// Opens or makes the overlays that are not shared. Blocks (replays journals, syncs): not on a
// reactor. `ring` is that of the reactor which the disks go to.
Result<> open_disks(UnitsPlan& plan, const OverlaySettings& settings, reactor::IoRing& ring);

class OpenUnits : public std::enable_shared_from_this<OpenUnits> {
  public:
    // What a disk tells; called on the reactor.
    struct DiskListener {
        std::function<void(std::uint16_t lun, int percent)> space_warning;
        std::function<void(std::uint16_t lun)> storage_failed;
    };
    // Runs work that may block, off the reactor and in order.
    using RunBehind = std::function<void(std::function<void()> work)>;

    using HeldDisks = std::vector<std::weak_ptr<OpenDisk>>;

    // Disks whose overlay `running` has open already (keep, super) are shared with it; when all
    // are, so is the device, unless the target's name changed. Null `running`: none. `held`: disks
    // that are open for somebody else, shared likewise.
    static SharedUnits shared(const UnitsPlan& plan, const std::shared_ptr<OpenUnits>& running,
                              const HeldDisks& held);
    // With what open_disks has opened; the same must be shared as then.
    static std::shared_ptr<OpenUnits> make(UnitsPlan plan, const OverlaySettings& settings,
                                           reactor::Reactor& reactor,
                                           const std::shared_ptr<OpenUnits>& running,
                                           const HeldDisks& held, const DiskListener& listener,
                                           const RunBehind& run_behind);

    scsi::Device& device() { return *device_; }
    const std::vector<std::shared_ptr<OpenDisk>>& disks() const { return disks_; }
    void set_quota(std::uint16_t lun, std::uint64_t quota_bytes);
    disk::OverlayUsage usage() const;  // of all disks together
    disk::ReadCounters counters() const;

  private:
    scsi::DeviceSeams make_seams(const UnitsPlan& plan, const OverlaySettings& settings,
                                 reactor::Reactor& reactor, const RunBehind& run_behind);

    std::string iqn_;
    std::vector<std::shared_ptr<OpenDisk>> disks_;
    std::unique_ptr<scsi::Device> device_;  // before the disks it uses are let go
};

}  // namespace goldlink::control
