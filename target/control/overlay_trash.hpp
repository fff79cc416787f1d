// OverlayTrash: the kept overlays of links that were removed, for some days, in case that was a
// mistake. It lies on the overlays' own filesystem, so that an overlay comes and goes by a rename:
//
//   overlays/.trash/{entry}/entry.json      what it was, durable before the link is forgotten
//   overlays/.trash/{entry}/{lun}-g{n}/     the overlay's folder, as it was
//
// A kill between the two leaves the folder where the link had it; `finish` goes on with that.
// Threads: any that may block on the disk; mutex_ guards the folder against two that change it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "target/control/link_state.hpp"

namespace goldlink::control {

struct TrashEntry {
    std::string id;                     // a UUID, the entry's folder
    std::string link_id;                // the folder that the overlays had
    std::string why;                    // for people: "its link was removed"
    std::int64_t removed_at = 0;        // Unix time, seconds
    std::vector<std::string> overlays;  // "lun0-g4"
    // What the link was; without it the entry can be kept and removed, but not restored.
    std::optional<LinkState> link;
    std::string problem;      // of an entry that cannot be read; the rest is empty then
    std::uint64_t bytes = 0;  // on the disk; filled by list()
};

class OverlayTrash {
  public:
    // `overlays` is the folder of all links' overlays. An entry goes after `keep_for`.
    OverlayTrash(std::filesystem::path overlays, std::chrono::seconds keep_for);

    std::chrono::seconds keep_for() const { return keep_for_; }

    // Two steps around the moment at which the link is forgotten: begin() makes the entry durable,
    // finish() moves the overlays that are still where the link had them. undo() is for a link that
    // stayed after all: what was moved goes back, and the entry is forgotten.
    Result<> begin(const TrashEntry& entry);
    Result<> finish(const TrashEntry& entry);
    Result<> undo(const TrashEntry& entry);

    // Newest first. An entry that cannot be read is among them, with its problem.
    std::vector<TrashEntry> list() const;
    Result<TrashEntry> find(const std::string& id) const;

    // Moves the entry's overlays back to its link's folder, which must hold none of their names,
    // and forgets the entry. conflict, not_found.
    Result<> take_back(const TrashEntry& entry);
    // Gone for good. not_found.
    Result<> remove(const std::string& id);
    void remove_expired();

    // The entries whose link ran on it, or with an overlay over it: the version must stay.
    std::vector<std::string> users_of_version(std::string_view digest) const;

  private:
    std::filesystem::path folder_of(const std::string& id) const { return root_ / id; }
    Result<> destroy(const std::string& id);
    Result<> move_back(const TrashEntry& entry);
    std::vector<TrashEntry> read_all() const;

    const std::filesystem::path overlays_, root_;
    const std::chrono::seconds keep_for_;
    mutable std::mutex mutex_;
};

}  // namespace goldlink::control
