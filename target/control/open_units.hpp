// OpenUnits: the logical units of one generation, open: a SCSI device over its link disks. Made,
// used and destroyed on the link's reactor; versions are opened before, off the reactor, by
// plan_units.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "target/control/link_state.hpp"
#include "target/reactor/reactor.hpp"
#include "target/scsi/device.hpp"

namespace goldlink::control {

// Where overlays live and what they may take; the same for all links.
struct OverlaySettings {
    std::filesystem::path root;          // root/{link id}/{overlay}
    std::filesystem::path ram_root;      // the same below a tmpfs, or empty
    std::uint64_t ram_budget_bytes = 0;  // of all discard disks together
    std::uint64_t reserve_bytes = 256ULL << 20;

    std::filesystem::path folder(std::string_view link_id, std::string_view overlay) const;
    std::filesystem::path ram_folder(std::string_view link_id, std::string_view overlay) const;
};

struct UnitsPlan {
    std::string link_id;
    std::string iqn;
    GenerationState generation;
    std::vector<std::shared_ptr<const store::Version>> versions;  // one a disk
    std::uint64_t ram_budget_bytes = 0;                           // of each discard disk
};

// May block (reads the store's index): not on a reactor. The error names the version.
Result<UnitsPlan> plan_units(store::ImageStore& store, std::string_view link_id,
                             std::string_view iqn, const GenerationState& generation);

class OpenUnits;

struct OpenDisk {  // closes its disk when the last generation that uses it lets go
    DiskState state;
    std::unique_ptr<disk::LinkDisk> disk;         // never null
    std::vector<std::weak_ptr<OpenUnits>> users;  // whose devices have it as a unit

    OpenDisk(DiskState its_state, std::unique_ptr<disk::LinkDisk> opened)
        : state(std::move(its_state)), disk(std::move(opened)) {}
    ~OpenDisk() { disk->close(); }
};

class OpenUnits : public std::enable_shared_from_this<OpenUnits> {
  public:
    // What a disk tells; called on the reactor.
    struct DiskListener {
        std::function<void(std::uint16_t lun, int percent)> space_warning;
        std::function<void(std::uint16_t lun)> storage_failed;
    };
    // Runs work that may block, off the reactor and in order.
    using RunBehind = std::function<void(std::function<void()> work)>;

    // Disks whose overlay `running` has open already (keep, super) are shared with it; when all
    // are, so is the device, unless the target's name changed. Null `running`: none. `held`: disks
    // that are open for somebody else, shared likewise.
    static Result<std::shared_ptr<OpenUnits>> open(
        const UnitsPlan& plan, const OverlaySettings& settings, reactor::Reactor& reactor,
        const std::shared_ptr<OpenUnits>& running, const std::vector<std::weak_ptr<OpenDisk>>& held,
        const DiskListener& listener, const RunBehind& run_behind);

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
