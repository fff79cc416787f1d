// Commit: the blocks of a link's super disk become a new version. Nobody may be logged in, and
// nobody gets in while it runs; afterwards the link runs on over the new version, its overlay
// empty.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <future>

#include "target/control/link_table.hpp"

namespace goldlink::control {
namespace {

tl::unexpected<OperationError> refuse(ErrorKind kind, std::string_view type, std::string message) {
    return tl::unexpected(OperationError{{kind, std::move(message), 0}, std::string(type), {}});
}

struct ReadJob {
    disk::Request request;
    std::promise<disk::Outcome> outcome;
};

// One chunk through the link's own disk, as a client would read it.
Result<> read_chunk(LiveLink& live, disk::Disk& disk, std::uint64_t offset_bytes,
                    std::uint8_t* chunk) {
    const std::uint64_t size = disk.geometry().size_bytes;
    if (offset_bytes >= size)
        return failure(ErrorKind::invalid, "a chunk beyond the end of the disk");
    ReadJob job;
    job.request.operation = disk::Operation::read;
    job.request.offset_bytes = offset_bytes;
    job.request.length_bytes = std::min<std::uint64_t>(store::kChunkBytes, size - offset_bytes);
    job.request.data = chunk;
    job.request.owner = &job;
    job.request.complete = [](disk::Request& request) noexcept {
        static_cast<ReadJob*>(request.owner)->outcome.set_value(request.outcome);
    };
    std::memset(chunk + job.request.length_bytes, 0, store::kChunkBytes - job.request.length_bytes);
    live.reactor().post([&] {
        if (disk.submit(job.request) == disk::Submit::done)
            job.outcome.set_value(job.request.outcome);
    });
    const disk::Outcome outcome = job.outcome.get_future().get();
    if (outcome == disk::Outcome::ok) return {};
    return failure(outcome == disk::Outcome::medium_error ? ErrorKind::corrupt : ErrorKind::io,
                   fmt::format("the overlay cannot be read at byte {}", offset_bytes));
}

}  // namespace

OperationResult<> LinkTable::start_commit(const LinkPointer& link, std::optional<std::uint16_t> lun,
                                          std::shared_ptr<OpenDisk>& disk) {
    const std::lock_guard operation(link->operation);
    if (auto usable = check_usable(link); !usable) return usable;
    LinkReport report;
    std::vector<std::uint16_t> candidates;
    link->live->reactor().run_and_wait([&] {
        report = link->live->report();
        if (!report.open || !report.sessions.empty()) return;
        for (const auto& each : link->live->units()->disks()) {
            if (each->state.policy != disk::Policy::super) continue;
            if (lun.value_or(each->state.lun) != each->state.lun) continue;
            candidates.push_back(each->state.lun);
            disk = each;
        }
        if (candidates.size() == 1)
            link->live->hold(true);
        else
            disk.reset();
    });
    if (!report.open)
        return refuse(ErrorKind::unavailable, "link-not-ready",
                      fmt::format("link {} is not ready: {}", link->id, report.problem));
    if (!report.sessions.empty())
        return refuse(ErrorKind::conflict, "link-in-use",
                      fmt::format("link {} is in use by {}; shut it down, then commit", link->id,
                                  report.sessions.front().info.initiator_name));
    if (candidates.size() > 1)
        return refuse(ErrorKind::conflict, "several-super-disks",
                      fmt::format("link {} has several disks of policy super, luns {}; say which "
                                  "one's edits become a version",
                                  link->id, fmt::join(candidates, ", ")));
    if (!disk && lun)
        return refuse(ErrorKind::conflict, "no-super-disk",
                      fmt::format("link {} has no disk of policy super with lun {}; only such "
                                  "edits become a version",
                                  link->id, *lun));
    if (!disk)
        return refuse(
            ErrorKind::conflict, "no-super-disk",
            fmt::format("link {} has no disk of policy super; only such edits become a version",
                        link->id));
    link->committing = true;
    return {};
}

OperationResult<> LinkTable::finish_commit(const LinkPointer& link, std::uint16_t lun,
                                           const std::string& digest) {
    const std::lock_guard operation(link->operation);
    link->committing = false;
    (void)run_on(link, [&](LiveLink& live) -> Result<> {
        live.hold(false);
        if (!digest.empty()) live.drop_pending();
        return {};
    });
    if (digest.empty()) return {};
    LinkState state;
    {
        const std::lock_guard lock(mutex_);
        for (DiskDefinition& disk : link->state.definition.disks)
            if (disk.lun == lun) disk.version = digest;
        link->state.pending.reset();
        state = link->state;
    }
    // Where nothing had changed the digest is the base's own: still the overlay is done with.
    open_current(link, plan_renewal(state.definition, state.current, state.next_number(), lun),
                 false);
    return save();
}

OperationResult<store::VersionInfo> LinkTable::commit(std::string_view id,
                                                      std::optional<std::uint16_t> lun,
                                                      store::Progress& progress) {
    const LinkPointer link = find(id);
    if (!link)
        return refuse(ErrorKind::not_found, "no-such-link", fmt::format("there is no link {}", id));
    std::shared_ptr<OpenDisk> disk;
    if (auto started = start_commit(link, lun, disk); !started)
        return tl::unexpected(std::move(started).error());
    std::vector<std::uint64_t> chunks;
    link->live->reactor().run_and_wait([&] { chunks = disk->disk->changed_chunks(); });
    auto made = store_.commit(
        disk->state.version, chunks,
        [&](std::uint64_t offset_bytes, std::uint8_t* chunk) {
            return read_chunk(*link->live, *disk->disk, offset_bytes, chunk);
        },
        progress);
    const std::uint16_t committed = disk->state.lun;
    link->live->reactor().run_and_wait([&] { disk.reset(); });  // disks are let go where they live
    auto finished = finish_commit(link, committed, made ? made->digest : std::string());
    if (!made) return tl::unexpected(OperationError{std::move(made).error(), "", {}});
    if (!finished) return tl::unexpected(std::move(finished).error());
    return std::move(*made);
}

}  // namespace goldlink::control
