#include "target/store/pinned_versions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

namespace goldlink::store {

namespace {

// The stored chunks of a version, each once, those read first before the others.
std::vector<ChunkLocation> locations_of(const Version& version,
                                        const std::vector<std::uint32_t>& first) {
    const std::uint64_t count = (version.size_bytes() + kChunkBytes - 1) / kChunkBytes;
    std::vector<ChunkLocation> locations;
    std::unordered_set<ChunkLocation> seen;
    const auto add = [&](std::uint64_t chunk) {
        const ChunkLocation location = version.location(chunk);
        if (is_stored(location) && seen.insert(location).second) locations.push_back(location);
    };
    for (const std::uint32_t chunk : first)
        if (chunk < count) add(chunk);
    for (std::uint64_t chunk = 0; chunk < count; ++chunk) add(chunk);
    return locations;
}

}  // namespace

Result<> PinnedVersions::apply(ImageStore& store, const std::vector<PinWish>& wishes,
                               Progress& progress) {
    std::vector<PinnedVersion> report;
    std::vector<std::vector<ChunkLocation>> wanted;  // by wish
    std::vector<ChunkLocation> all;
    for (const PinWish& wish : wishes) {
        report.push_back({wish.digest, 0, 0, ""});
        const auto version = store.open_version(wish.digest);
        if (!version) {
            report.back().problem = version.error().message;
            wanted.emplace_back();
            continue;
        }
        wanted.push_back(locations_of(**version, wish.first_chunks));
        report.back().wanted_bytes = wanted.back().size() * kChunkBytes;
        all.insert(all.end(), wanted.back().begin(), wanted.back().end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    for (const ChunkLocation location : pinned_)
        if (!std::binary_search(all.begin(), all.end(), location))
            packs_.unpin(slot_of_location(location));
    pinned_ = std::move(all);
    progress.total_bytes = pinned_.size() * kChunkBytes;
    progress.done_bytes = 0;
    tell(report);

    const ResidentChunks& memory = packs_.resident();
    for (std::size_t i = 0; i < wishes.size(); ++i) {
        for (const ChunkLocation location : wanted[i]) {
            if (progress.cancel) return failure(ErrorKind::cancelled, "pinning was cancelled");
            if (packs_.pin(slot_of_location(location)))
                report[i].pinned_bytes += kChunkBytes;
            else if (memory.pinned_bytes() + kChunkBytes > memory.budget_bytes())
                break;
            progress.done_bytes += kChunkBytes;
        }
        if (report[i].problem.empty() && report[i].pinned_bytes < report[i].wanted_bytes)
            report[i].problem =
                memory.pinned_bytes() + kChunkBytes > memory.budget_bytes()
                    ? fmt::format(
                          "the locked memory is full: its budget is {} MiB; give "
                          "--locked-memory more, or pin less",
                          memory.budget_bytes() >> 20)
                    : "some of it could not be locked in memory; the log says why, and 'goldlink "
                      "image verify' whether its chunks can be read";
        tell(report);
    }
    return {};
}

std::vector<PinnedVersion> PinnedVersions::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

void PinnedVersions::tell(std::vector<PinnedVersion> report) {
    const std::lock_guard lock(mutex_);
    report_ = std::move(report);
}

}  // namespace goldlink::store
