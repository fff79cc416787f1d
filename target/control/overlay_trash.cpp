#include "target/control/overlay_trash.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/kept_file.hpp"
#include "common/log.hpp"
#include "target/control/found_overlays.hpp"
#include "target/disk/link_disk.hpp"

namespace goldlink::control {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMaxEntryBytes = 1 << 20;
constexpr const char* kEntryFile = "entry.json";

std::string encode(const TrashEntry& entry) {
    json::object o{{"format", kFormat},
                   {"link_id", entry.link_id},
                   {"why", entry.why},
                   {"removed_at", entry.removed_at}};
    json::array overlays;
    for (const std::string& overlay : entry.overlays) overlays.emplace_back(overlay);
    o["overlays"] = std::move(overlays);
    o["link"] = entry.link ? json::value(entry.link->to_json()) : json::value(nullptr);
    return json::serialize(o);
}

Result<TrashEntry> decode(std::string_view text) {
    TrashEntry entry;
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(text));
    GOLDLINK_TRY(check_format(o, kFormat));
    GOLDLINK_TRY_ASSIGN(entry.link_id, json::string_field(o, "link_id", 36, 36));
    if (!is_uuid(entry.link_id)) return failure(ErrorKind::corrupt, "link_id is no UUID");
    GOLDLINK_TRY_ASSIGN(entry.why, json::string_field(o, "why", 0, 200));
    GOLDLINK_TRY_ASSIGN(entry.removed_at, json::int_field(o, "removed_at", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(const json::array overlays,
                        json::array_field(o, "overlays", kMaxDisksPerLink));
    for (const json::value& item : overlays) {
        if (!item.is_string()) return failure(ErrorKind::corrupt, "an overlay is no text");
        std::string name(item.get_string());
        if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos)
            return failure(ErrorKind::corrupt, fmt::format("overlay '{}' is no folder name", name));
        entry.overlays.push_back(std::move(name));
    }
    if (const json::value* link = o.if_contains("link"); link != nullptr && link->is_object()) {
        GOLDLINK_TRY_ASSIGN(entry.link, LinkState::parse(link->get_object()));
    }
    return entry;
}

std::uint64_t bytes_below(const std::filesystem::path& folder) {
    std::uint64_t bytes = 0;
    std::error_code error;
    for (auto it = std::filesystem::recursive_directory_iterator(folder, error);
         !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
        struct stat status {};
        if (::lstat(it->path().c_str(), &status) == 0)
            bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

bool is_there(const std::filesystem::path& path) {
    std::error_code unknown;
    return std::filesystem::exists(path, unknown);
}

Result<> move(const std::filesystem::path& from, const std::filesystem::path& to) {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    if (error)
        return system_failure(fmt::format("cannot move {} to {}", from.string(), to.string()),
                              error.value());
    GOLDLINK_TRY(sync_folder_of(to));
    return sync_folder_of(from);
}

}  // namespace

OverlayTrash::OverlayTrash(std::filesystem::path overlays, std::chrono::seconds keep_for)
    : overlays_(std::move(overlays)), root_(overlays_ / ".trash"), keep_for_(keep_for) {}

Result<> OverlayTrash::begin(const TrashEntry& entry) {
    const std::lock_guard lock(mutex_);
    GOLDLINK_TRY(make_directories(folder_of(entry.id)));
    GOLDLINK_TRY(sync_folder_of(folder_of(entry.id)));
    // It has the link's secrets in it.
    return replace_file(folder_of(entry.id) / kEntryFile, encode(entry), 0600);
}

Result<> OverlayTrash::finish(const TrashEntry& entry) {
    const std::lock_guard lock(mutex_);
    const auto link_folder = overlays_ / entry.link_id;
    for (const std::string& overlay : entry.overlays)
        if (is_there(link_folder / overlay))
            GOLDLINK_TRY(move(link_folder / overlay, folder_of(entry.id) / overlay));
    return {};
}

Result<> OverlayTrash::undo(const TrashEntry& entry) {
    const std::lock_guard lock(mutex_);
    return move_back(entry);
}

// Over nothing that is there.
Result<> OverlayTrash::move_back(const TrashEntry& entry) {
    const auto link_folder = overlays_ / entry.link_id;
    GOLDLINK_TRY(make_directories(link_folder));
    for (const std::string& overlay : entry.overlays)
        if (is_there(folder_of(entry.id) / overlay) && !is_there(link_folder / overlay))
            GOLDLINK_TRY(move(folder_of(entry.id) / overlay, link_folder / overlay));
    for (const std::string& overlay : entry.overlays)
        if (is_there(folder_of(entry.id) / overlay))
            return failure(ErrorKind::conflict,
                           fmt::format("{} is in use, so {} stays where it is",
                                       (link_folder / overlay).string(),
                                       (folder_of(entry.id) / overlay).string()));
    std::error_code ignored;
    std::filesystem::remove(folder_of(entry.id) / kEntryFile, ignored);
    std::filesystem::remove(folder_of(entry.id), ignored);
    return {};
}

std::vector<TrashEntry> OverlayTrash::read_all() const {
    std::vector<TrashEntry> entries;
    for (const auto& folder : link_folders(root_)) {
        const auto path = folder / kEntryFile;
        auto content = read_file(path, kMaxEntryBytes);
        auto decoded = content ? decode(*content) : Failure(std::move(content).error());
        TrashEntry entry;
        if (decoded)
            entry = std::move(*decoded);
        else
            entry.problem = fmt::format("{} cannot be read: {}; its overlays lie beside it",
                                        path.string(), decoded.error().message);
        entry.id = folder.filename().string();
        entries.push_back(std::move(entry));
    }
    std::ranges::stable_sort(entries, std::greater(), &TrashEntry::removed_at);
    return entries;
}

std::vector<TrashEntry> OverlayTrash::list() const {
    const std::lock_guard lock(mutex_);
    std::vector<TrashEntry> entries = read_all();
    for (TrashEntry& entry : entries) entry.bytes = bytes_below(folder_of(entry.id));
    return entries;
}

Result<TrashEntry> OverlayTrash::find(const std::string& id) const {
    for (TrashEntry& entry : list())
        if (entry.id == id) return std::move(entry);
    return failure(ErrorKind::not_found,
                   fmt::format("the trash has no entry {}; it may have expired", id));
}

Result<> OverlayTrash::take_back(const TrashEntry& entry) {
    const std::lock_guard lock(mutex_);
    const auto link_folder = overlays_ / entry.link_id;
    for (const std::string& overlay : entry.overlays) {
        if (is_there(link_folder / overlay))
            return failure(ErrorKind::conflict, fmt::format("{} is in use; nothing is put over it",
                                                            (link_folder / overlay).string()));
        // A link that comes back runs on it at once, and cannot without its journal.
        const auto trashed = folder_of(entry.id) / overlay;
        const auto needed = entry.link ? trashed / "journal" : trashed;
        if (!is_there(needed))
            return failure(ErrorKind::corrupt,
                           fmt::format("{} is missing: somebody took it out of the trash; put it "
                                       "back, or remove the entry",
                                       needed.string()));
    }
    return move_back(entry);
}

// The overlays first: an entry without its overlays is harmless, the reverse is not to be told.
Result<> OverlayTrash::destroy(const std::string& id) {
    for (const FoundOverlay& overlay : find_overlays(folder_of(id)))
        GOLDLINK_TRY(disk::LinkDisk::destroy(overlay.folder, {}));
    std::error_code error;
    std::filesystem::remove(folder_of(id) / kEntryFile, error);
    std::filesystem::remove(folder_of(id), error);
    if (error)
        return system_failure(fmt::format("{} is not removed whole", folder_of(id).string()),
                              error.value());
    return {};
}

Result<> OverlayTrash::remove(const std::string& id) {
    const std::lock_guard lock(mutex_);
    if (!is_uuid(id) || !is_there(folder_of(id)))
        return failure(ErrorKind::not_found,
                       fmt::format("the trash has no entry {}; it may have expired", id));
    return destroy(id);
}

void OverlayTrash::remove_expired() {
    const std::lock_guard lock(mutex_);
    const std::int64_t oldest = std::time(nullptr) - keep_for_.count();
    for (const TrashEntry& entry : read_all()) {
        // One that cannot be read says nothing of its age: a person decides.
        if (!entry.problem.empty() || entry.removed_at > oldest) continue;
        log::info("the trashed disk of link {} has had its time and is deleted", entry.link_id);
        if (const auto gone = destroy(entry.id); !gone)
            log::warn("trash entry {} is not deleted: {}", entry.id, gone.error().message);
    }
}

std::vector<std::string> OverlayTrash::users_of_version(std::string_view digest) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> users;
    for (const TrashEntry& entry : read_all()) {
        // Not every entry says what its link was, but each overlay says what it lies over.
        const auto overlays = find_overlays(folder_of(entry.id));
        if ((entry.link && entry.link->refers_to(digest)) ||
            std::ranges::find(overlays, digest, &FoundOverlay::version) != overlays.end())
            users.push_back(entry.id);
    }
    return users;
}

}  // namespace goldlink::control
