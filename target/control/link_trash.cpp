// Removal of a link, what becomes of its kept disks, and their way back; and, at the start, what
// lies among the overlays that no link names.
#include <fmt/format.h>

#include <condition_variable>
#include <ctime>
#include <map>

#include "common/hex.hpp"
#include "common/log.hpp"
#include "target/control/found_overlays.hpp"
#include "target/control/link_refusal.hpp"
#include "target/disk/journal_record.hpp"

namespace goldlink::control {
namespace {

constexpr std::chrono::seconds kCloseWait{10};
// A new journal, and its first mark.
constexpr std::uint64_t kUntouchedJournalBytes = disk::kJournalHeaderBytes + disk::kRecordBytes;

// What a reactor tells a thread that waits, and that may have stopped waiting.
class Signal {
  public:
    void set() {
        const std::lock_guard lock(mutex_);
        set_ = true;
        changed_.notify_all();
    }
    bool wait_for(std::chrono::seconds most) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, most, [this] { return set_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool set_ = false;
};

void destroy_folder(const std::filesystem::path& folder) {
    if (const auto destroyed = disk::LinkDisk::destroy(folder, {}); !destroyed)
        log::warn("{} is not deleted: {}", folder.string(), destroyed.error().message);
}

TrashEntry new_entry(std::string link_id, std::string why) {
    TrashEntry entry;
    entry.id = random_uuid();
    entry.link_id = std::move(link_id);
    entry.why = std::move(why);
    entry.removed_at = std::time(nullptr);
    return entry;
}

}  // namespace

// What is worth keeping of a link that is removed: overlays of keep and super disks, but for those
// whose journal is as it was made, to which nothing was ever written.
std::optional<TrashEntry> LinkTable::trash_entry(const LinkPointer& link) {
    const LinkView view = view_of(link);
    TrashEntry entry = new_entry(link->id, "its link was removed");
    for (const DiskState& disk : view.state.current.disks) {
        if (disk.policy == disk::Policy::discard || disk.overlay.empty()) continue;
        const bool untouched =
            view.report.sessions.empty() &&
            std::ranges::any_of(view.report.disks, [&](const LinkReport::Disk& open) {
                return open.state.overlay == disk.overlay &&
                       open.overlay.journal_bytes <= kUntouchedJournalBytes;
            });
        std::error_code unknown;
        if (!untouched &&
            std::filesystem::exists(settings_.folder(link->id, disk.overlay), unknown))
            entry.overlays.push_back(disk.overlay);
    }
    if (entry.overlays.empty()) return std::nullopt;
    entry.link = view.state;
    return entry;
}

OperationResult<> LinkTable::remove(std::string_view id, const Removal& removal) {
    const LinkPointer link = find(id);
    if (!link) return {};
    const std::lock_guard operation(link->operation);
    if (!link->busy_with.empty()) return check_usable(link);
    {
        const std::lock_guard lock(mutex_);
        if (link->removed) return {};
        const std::uint64_t held = link->state.definition.revision;
        if (removal.revision && *removal.revision < held)
            return refuse(ErrorKind::conflict, "stale-revision",
                          fmt::format("link {} is at revision {}, later than the {} given",
                                      link->id, held, *removal.revision));
    }
    std::optional<TrashEntry> entry;
    if (removal.to_trash) entry = trash_entry(link);
    if (entry)
        if (auto begun = trash_.begin(*entry); !begun)
            return refuse(std::move(begun).error().with_context(fmt::format(
                "link {} stays: its kept disk cannot be put into the trash", link->id)));
    {
        const std::lock_guard lock(mutex_);
        link->removed = true;
        unlist(*link);
        links_.erase(link->id);
        leaving_.insert(link->id);
        --links_per_reactor_[link->reactor];
    }
    usage_turns_.cancel(link->id);
    if (removal.grace.count() > 0) {
        auto drained = std::make_shared<Signal>();
        link->live->reactor().post([link, drained, grace = removal.grace] {
            link->live->drain(static_cast<std::uint16_t>(grace.count()),
                              [drained] { drained->set(); });
        });
        if (!drained->wait_for(removal.grace))
            log::info("link {}: not all initiators have logged out within {} s", link->id,
                      removal.grace.count());
    }
    // Forgotten before its overlays move: no restart looks for them where they are no more.
    auto saved = save();
    auto closing = std::make_shared<Signal>();
    link->live->reactor().post([this, link, closing, entry] {
        link->live->close(iscsi::SessionEnd::removed, [this, link, closing, entry] {
            background_.post([this, id = link->id, closing, entry] {
                finish_removal(id, entry);
                closing->set();
            });
        });
    });
    if (!closing->wait_for(kCloseWait))
        log::warn("link {} is removed, but its sessions have not ended within {} s", link->id,
                  kCloseWait.count());
    return saved;
}

void LinkTable::finish_removal(const std::string& id, const std::optional<TrashEntry>& entry) {
    const auto is_trashed = [&](const std::string& overlay) {
        return entry && std::ranges::find(entry->overlays, overlay) != entry->overlays.end();
    };
    if (entry) {
        if (const auto moved = trash_.finish(*entry); !moved)
            log::error(
                "the disk of removed link {} is not in the trash yet, the next start goes "
                "on with that: {}",
                id, moved.error().message);
        else
            log::info(
                "what was written to link {} is in the trash for {} days: goldlink trash "
                "restore {}",
                id, trash_.keep_for().count() / 86'400, entry->id);
    }
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        if (root.empty()) continue;
        for (const FoundOverlay& overlay : find_overlays(root / id))
            if (!is_trashed(overlay.name)) destroy_folder(overlay.folder);
        std::error_code not_empty;
        std::filesystem::remove(root / id, not_empty);
    }
    const std::lock_guard lock(mutex_);
    leaving_.erase(id);
}

OperationResult<LinkView> LinkTable::restore(const std::string& trash_entry) {
    auto entry = trash_.find(trash_entry);
    if (!entry) return refuse(std::move(entry).error());
    if (!entry->link)
        return refuse(ErrorKind::conflict, "not-restorable",
                      entry->problem.empty()
                          ? fmt::format("what link {} was is not known; its overlays stay in the "
                                        "trash until they are removed",
                                        entry->link_id)
                          : entry->problem);
    LinkDefinition definition = entry->link->definition;
    if (find(definition.id))
        return refuse(ErrorKind::conflict, "link-exists",
                      fmt::format("link {} is there, with a disk of its own; remove it first",
                                  definition.id));
    auto reserved = reserve(definition);
    if (!reserved) return tl::unexpected(std::move(reserved).error());
    const LinkPointer link = *reserved;
    const std::lock_guard operation(link->operation);
    const auto undo = [&] {
        const std::lock_guard lock(mutex_);
        link->removed = true;
        links_.erase(link->id);
        --links_per_reactor_[link->reactor];
    };
    if (auto taken = trash_.take_back(*entry); !taken) {
        undo();
        return refuse(std::move(taken).error());
    }
    const GenerationState generation =
        plan_generation(definition, &entry->link->current, entry->link->next_number(), false);
    open_current(link, generation, false);
    if (auto saved = save(); !saved) return tl::unexpected(std::move(saved).error());
    log::info("link {} ({}) is back from the trash", link->id, definition.iqn);
    return view_of(link);
}

Result<> LinkTable::trash_left(const std::string& link_id) {
    TrashEntry entry = new_entry(link_id, "a clean-up found no link that names it");
    for (const FoundOverlay& overlay : find_overlays(settings_.root / link_id))
        if (entry.overlays.size() < kMaxDisksPerLink) entry.overlays.push_back(overlay.name);
    {
        // A link of that id may be made at any moment: not while this goes on.
        const std::lock_guard lock(mutex_);
        if (links_.contains(link_id) || !leaving_.insert(link_id).second) return {};
    }
    auto trashed = trash_.begin(entry);
    if (trashed) trashed = trash_.finish(entry);
    std::error_code not_empty;
    if (trashed) std::filesystem::remove(settings_.root / link_id, not_empty);
    const std::lock_guard lock(mutex_);
    leaving_.erase(link_id);
    return trashed;
}

// What a start put into the trash because no link named it, as with a state file of an earlier
// time, goes back when its link is named after all.
bool LinkTable::take_back_unnamed(const std::string& link_id) {
    if (!find_overlays(settings_.root / link_id).empty()) return false;
    for (const TrashEntry& entry : trash_.list()) {
        if (entry.link_id != link_id || entry.link || !entry.problem.empty()) continue;
        const auto taken = trash_.take_back(entry);
        if (!taken) log::error("trash entry {}: {}", entry.id, taken.error().message);
        if (taken) log::info("the overlays of link {} are back from the trash", link_id);
        return taken.has_value();
    }
    return false;
}

// What a kill interrupted: entries whose link was forgotten get their overlays, those whose link is
// still on record give them back.
void LinkTable::settle_trash() {
    for (const TrashEntry& entry : trash_.list()) {
        if (!entry.problem.empty()) {
            log::warn("trash entry {}: {}", entry.id, entry.problem);
            continue;
        }
        const auto known = links_.find(entry.link_id);
        const bool is_wanted =
            known != links_.end() &&
            std::ranges::any_of(known->second->state.current.disks, [&](const DiskState& disk) {
                return std::ranges::find(entry.overlays, disk.overlay) != entry.overlays.end();
            });
        if (is_wanted) {
            if (const auto back = trash_.undo(entry); !back)
                log::error("trash entry {}: {}", entry.id, back.error().message);
        } else if (const auto moved = trash_.finish(entry); !moved) {
            log::error("trash entry {}: {}", entry.id, moved.error().message);
        }
    }
}

// Overlays that no link names: of links removed, and of boots superseded, just before a kill. Those
// of discard disks are deleted; others may be somebody's work and go to the trash. `were_discard`:
// what the state file called so; the journal of an overlay in memory is gone after a power loss.
void LinkTable::settle_orphans(const OverlayNames& were_discard) {
    OverlayNames wanted;
    std::map<std::string, TrashEntry> orphans;
    for (const auto& [id, link] : links_)
        for (const GenerationState* generation :
             {&link->state.current, link->state.pending ? &*link->state.pending : nullptr})
            if (generation != nullptr)
                for (const DiskState& disk : generation->disks)
                    if (!disk.overlay.empty())
                        wanted.insert(std::filesystem::path(id) / disk.overlay);
    // A disk in memory has its journal there, and nothing on the disk says what its slots are.
    const auto is_discard = [&](const std::string& id, const FoundOverlay& overlay) {
        if (overlay.policy) return overlay.policy == disk::Policy::discard;
        if (were_discard.contains(std::filesystem::path(id) / overlay.name)) return true;
        for (const FoundOverlay& in_memory : find_overlays(settings_.ram_folder(id, "")))
            if (in_memory.name == overlay.name) return true;
        const auto known = links_.find(id);
        if (known == links_.end()) return false;
        return std::ranges::any_of(known->second->state.current.disks, [&](const DiskState& disk) {
            return overlay.lun == disk.lun && disk.policy == disk::Policy::discard;
        });
    };
    for (const auto& folder : link_folders(settings_.root)) {
        const std::string id = folder.filename().string();
        for (const FoundOverlay& overlay : find_overlays(folder)) {
            if (wanted.contains(std::filesystem::path(id) / overlay.name)) continue;
            if (is_discard(id, overlay)) {
                log::info("deleting overlay {}, which no link uses", overlay.folder.string());
                destroy_folder(overlay.folder);
                continue;
            }
            auto& entry = orphans.try_emplace(id, new_entry(id, "no link named it at the start"))
                              .first->second;
            if (entry.overlays.size() < kMaxDisksPerLink) entry.overlays.push_back(overlay.name);
        }
        std::error_code not_empty;
        if (!links_.contains(id)) std::filesystem::remove(folder, not_empty);
    }
    for (const auto& [id, entry] : orphans) {
        log::warn("{} of link {}, which no link uses, goes to the trash",
                  fmt::join(entry.overlays, ", "), id);
        const auto begun = trash_.begin(entry);
        const auto moved = begun ? trash_.finish(entry) : begun;
        if (!moved) log::error("it stays where it is: {}", moved.error().message);
        std::error_code not_empty;
        std::filesystem::remove(settings_.root / id, not_empty);
    }
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        std::error_code error;
        for (const auto& left : std::filesystem::directory_iterator(root, error)) {
            if (!left.path().filename().string().starts_with(kLeftPrefix)) continue;
            for (const FoundOverlay& overlay : find_overlays(left.path()))
                destroy_folder(overlay.folder);
            std::error_code not_empty;
            std::filesystem::remove(left.path(), not_empty);
        }
    }
    for (const auto& folder : link_folders(settings_.ram_root)) {
        for (const FoundOverlay& overlay : find_overlays(folder))
            if (!wanted.contains(folder.filename() / overlay.name)) destroy_folder(overlay.folder);
        std::error_code not_empty;
        std::filesystem::remove(folder, not_empty);
    }
}

}  // namespace goldlink::control
