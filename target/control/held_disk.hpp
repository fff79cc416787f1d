// HeldDisk: a link's disk that stays open, and what it held when this was made, for a thread that
// may block: saves, commits and rebases read it while the disk's reactor goes on.
#pragma once

#include <memory>

#include "target/control/open_units.hpp"
#include "target/disk/disk_snapshot.hpp"

namespace goldlink::control {

// Lets go of both where they live.
class HeldDisk {
  public:
    using Snapshot = std::unique_ptr<const disk::DiskSnapshot>;
    HeldDisk(reactor::Reactor& reactor, std::shared_ptr<OpenDisk> disk, Snapshot snapshot)
        : reactor_(reactor), disk_(std::move(disk)), snapshot_(std::move(snapshot)) {}
    HeldDisk(HeldDisk&&) = default;
    HeldDisk& operator=(HeldDisk&&) = delete;
    ~HeldDisk();

    OpenDisk& disk() const { return *disk_; }  // for work on its reactor
    const DiskState& state() const { return disk_->state; }
    const disk::DiskSnapshot& snapshot() const { return *snapshot_; }

  private:
    reactor::Reactor& reactor_;
    std::shared_ptr<OpenDisk> disk_;
    Snapshot snapshot_;
};

// Waits for writes that are under way, which end by themselves. conflict while somebody else holds
// the disk.
Result<HeldDisk> hold_disk(reactor::Reactor& reactor, std::shared_ptr<OpenDisk> disk);

// What was acknowledged is durable, by the rules of the disk's policy.
Result<> flush_disk(reactor::Reactor& reactor, OpenDisk& disk);

}  // namespace goldlink::control
