#include "target/control/held_disk.hpp"

#include <fmt/format.h>

#include <future>

namespace goldlink::control {

HeldDisk::~HeldDisk() {
    if (!disk_) return;
    reactor_.run_and_wait([this] {
        snapshot_.reset();
        disk_.reset();
    });
}

Result<HeldDisk> hold_disk(reactor::Reactor& reactor, std::shared_ptr<OpenDisk> disk) {
    std::promise<Result<HeldDisk::Snapshot>> taken;
    reactor.post([&] {
        disk->disk->take_snapshot([&taken](Result<HeldDisk::Snapshot> snapshot) {
            taken.set_value(std::move(snapshot));
        });
    });
    auto snapshot = taken.get_future().get();
    HeldDisk held(reactor, std::move(disk), snapshot ? std::move(*snapshot) : nullptr);
    if (!snapshot) return Failure(std::move(snapshot).error());
    return held;
}

Result<> flush_disk(reactor::Reactor& reactor, OpenDisk& disk) {
    std::promise<void> done;
    disk::Request request;
    request.operation = disk::Operation::flush;
    request.owner = &done;
    request.complete = [](disk::Request& finished) noexcept {
        static_cast<std::promise<void>*>(finished.owner)->set_value();
    };
    reactor.post([&] {
        if (disk.disk->submit(request) == disk::Submit::done) done.set_value();
    });
    done.get_future().wait();
    if (request.outcome == disk::Outcome::ok) return {};
    return failure(ErrorKind::io,
                   fmt::format("the storage of overlay {} of lun {} could not make durable what "
                               "was written; look at its disk, then restart goldlink-target",
                               disk.state.overlay, disk.state.lun));
}

}  // namespace goldlink::control
