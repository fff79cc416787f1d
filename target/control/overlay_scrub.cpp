#include "target/control/overlay_scrub.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "common/log.hpp"

namespace goldlink::control {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

// Not while the server starts, and the room boots.
constexpr std::chrono::hours kFirstWait{1};
// After somebody else had the disk, or it was not served.
constexpr std::chrono::minutes kRetryWait{10};

}  // namespace

const OverlayScrub::Disk* OverlayScrub::due() {
    const auto now = Clock::now();
    const auto first = now + std::min<Clock::duration>(every_, kFirstWait);
    std::map<Disk, Known> there;
    for (const LinkView& view : links_.view_all())
        for (const DiskState& disk : view.state.current.disks) {
            if (disk.type != DiskType::disk || disk.policy == disk::Policy::discard) continue;
            Disk key{view.state.definition.id, disk.overlay, disk.lun};
            const auto before = known_.find(key);
            there.emplace(std::move(key), before == known_.end() ? Known{first} : before->second);
        }
    known_ = std::move(there);
    const auto longest = std::min_element(
        known_.begin(), known_.end(),
        [](const auto& one, const auto& other) { return one.second.next < other.second.next; });
    return longest == known_.end() || longest->second.next > now ? nullptr : &longest->first;
}

bool OverlayScrub::compare_one(const std::function<bool(std::uint64_t bytes)>& go_on) {
    const Disk* const disk = due();
    if (disk == nullptr) return false;
    Known& known = known_.at(*disk);
    while (go_on(LinkTable::kCompareStepBytes)) {
        const auto step = links_.compare_some(disk->link_id, disk->lun, disk->overlay, known.chunk);
        if (!step) {  // it is used otherwise, or not served now
            known.next = Clock::now() + std::min<Clock::duration>(every_, kRetryWait);
            return false;
        }
        known.looked_bytes += step->looked_bytes;
        known.bad_bytes += step->bad_bytes;
        tell(*disk, known);
        if (step->next_chunk) {
            known.chunk = *step->next_chunk;
            continue;
        }
        log::info("overlay {} of link {} is compared: {} of {} bytes are not what was written",
                  disk->overlay, disk->link_id, known.bad_bytes, known.looked_bytes);
        known = Known{Clock::now() + every_, known.bad_bytes};
        return false;
    }
    return true;
}

void OverlayScrub::tell(const Disk& disk, Known& known) {
    if (known.bad_bytes <= known.told_bytes) return;
    if (known.told_bytes == 0)
        log::error(
            "overlay {} of link {} is damaged: {} bytes or more of lun {} are not what was "
            "written, or cannot be read; 'goldlink link verify' says which, 'goldlink link "
            "salvage' makes a version without them",
            disk.overlay, disk.link_id, known.bad_bytes, disk.lun);
    known.told_bytes = known.bad_bytes;
    events_.append("overlay_damaged",
                   {{"link_id", disk.link_id},
                    {"boot_id", nullptr},
                    {"generation", nullptr},
                    {"data", json::object{{"lun", disk.lun}, {"bad_bytes", known.bad_bytes}}}});
}

}  // namespace goldlink::control
