#include "target/control/identity.hpp"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <boost/json.hpp>
#include <optional>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/log.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxBytes = 64 << 10;
constexpr std::int64_t kFormat = 1;
constexpr std::string_view kHere = "here";

std::string_view name_of(FolderKind kind) {
    switch (kind) {
        case FolderKind::store:
            return "store";
        case FolderKind::overlays:
            return "overlays";
        case FolderKind::ram:
            return "ram";
    }
    return "";
}

// A tmpfs is empty after each start of the machine, and the admin may name another.
std::string mark_of(const std::filesystem::path& folder, FolderKind kind) {
    if (kind != FolderKind::ram) return std::string(kHere);
    auto boot = read_file("/proc/sys/kernel/random/boot_id", 100);
    return fmt::format("{} {}", folder.string(), boot ? boot->substr(0, 36) : "");
}

struct Marker {
    std::string id, kind;
};

// "UUID KIND\n"
Result<Marker> read_marker(const std::filesystem::path& folder) {
    const auto path = folder / kMarkerFile;
    GOLDLINK_TRY_ASSIGN(const std::string text, read_file(path, kMaxBytes));
    const auto space = text.find(' ');
    Marker marker{text.substr(0, space), ""};
    if (space != std::string::npos)
        marker.kind = text.substr(space + 1, text.find('\n') - space - 1);
    if (!is_uuid(marker.id))
        return failure(ErrorKind::corrupt, fmt::format("{} is damaged", path.string()));
    return marker;
}

// But for what a filesystem makes itself, and for our marker.
bool holds_nothing(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::directory_iterator entry(folder, error), end;
    for (; !error && entry != end; entry.increment(error)) {
        const auto name = entry->path().filename();
        if (name != "lost+found" && name != kMarkerFile) return false;
    }
    return true;
}

bool is_in_memory(const std::filesystem::path& folder) {
    struct statfs status {};
    const bool there = ::statfs(folder.c_str(), &status) == 0 ||
                       ::statfs(folder.parent_path().c_str(), &status) == 0;
    return there && status.f_type == TMPFS_MAGIC;
}

}  // namespace

Result<std::unique_ptr<Identity>> Identity::open(const std::filesystem::path& state_folder) {
    std::unique_ptr<Identity> identity(new Identity(state_folder / "identity"));
    GOLDLINK_TRY(identity->load(state_folder));
    return identity;
}

Result<> Identity::load(const std::filesystem::path& state_folder) {
    bool newer = false;
    const auto parse = [&](std::string_view text) -> Result<> {
        GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(text));
        GOLDLINK_TRY_ASSIGN(const auto format, json::int_field(o, "format", 1, INT64_MAX));
        newer = format > kFormat;
        if (newer)
            return failure(ErrorKind::invalid,
                           fmt::format("{} has format {}, this program reads {}: start the newer "
                                       "program that wrote it",
                                       file_.string(), format, kFormat));
        GOLDLINK_TRY_ASSIGN(id_, json::string_field(o, "id", 36, 36));
        if (!is_uuid(id_)) return failure(ErrorKind::corrupt, "'id' is no UUID");
        GOLDLINK_TRY_ASSIGN(const json::object marked, json::object_field(o, "marked"));
        for (const auto& [kind, where] : marked)
            if (where.is_string()) marked_[std::string(kind)] = std::string(where.get_string());
        return {};
    };
    auto text = read_file(file_, kMaxBytes);
    if (text) {
        auto parsed = parse(*text);
        if (parsed) return {};
        if (newer) return parsed;
        std::error_code error;
        std::filesystem::rename(file_, file_.string() + ".bad", error);
        log::error("{} is damaged and set aside as {}.bad: {}", file_.string(),
                   file_.filename().string(), parsed.error().message);
    } else if (text.error().kind != ErrorKind::not_found) {
        return Failure(std::move(text).error());
    }
    id_.clear();
    marked_.clear();
    for (const FolderKind kind : {FolderKind::overlays, FolderKind::store}) {
        const auto marker = read_marker(state_folder / name_of(kind));
        if (!marker || marker->kind != name_of(kind)) continue;
        if (id_.empty()) id_ = marker->id;
        if (marker->id == id_) marked_[std::string(name_of(kind))] = kHere;
    }
    if (id_.empty())
        id_ = random_uuid();
    else
        log::warn("{} is made anew from the markers of the folders beside it", file_.string());
    return save();
}

Result<> Identity::save() const {
    json::object marked;
    for (const auto& [kind, where] : marked_) marked[kind] = where;
    const json::object o{{"format", kFormat}, {"id", id_}, {"marked", std::move(marked)}};
    return replace_file(file_, json::serialize(o), 0600);
}

Result<> Identity::mark(const std::filesystem::path& folder, FolderKind kind) {
    GOLDLINK_TRY(make_directories(folder));
    GOLDLINK_TRY(
        replace_file(folder / kMarkerFile, fmt::format("{} {}\n", id_, name_of(kind)), 0600));
    marked_[std::string(name_of(kind))] = mark_of(folder, kind);
    return save();
}

Result<> Identity::check(const std::filesystem::path& folder, FolderKind kind, bool holds_data) {
    const std::lock_guard lock(mutex_);
    const std::string name(name_of(kind));
    auto marker = read_marker(folder);
    const auto known = marked_.find(name);
    const bool was_marked = known != marked_.end() && known->second == mark_of(folder, kind);
    // What was in memory and is gone nobody brings back; each link that used it says so itself.
    const bool may_mark_anew =
        kind == FolderKind::ram && is_in_memory(folder) && holds_nothing(folder);
    if (marker) {
        if ((marker->id != id_ || marker->kind != name) && may_mark_anew) return mark(folder, kind);
        if (marker->id != id_ || marker->kind != name)
            return failure(
                ErrorKind::unavailable,
                fmt::format("{} is the folder '{}' of another installation ({}, this one is {}); "
                            "nothing is read or written there; mount the right disk, or if it is "
                            "{} that is another's, give back the right one, or remove it: then it "
                            "is made anew from the folders",
                            folder.string(), marker->kind, marker->id, id_, file_.string()));
        if (was_marked) return {};
        marked_[name] = mark_of(folder, kind);
        return save();
    }
    const Error& error = marker.error();
    if (error.kind != ErrorKind::not_found)
        return failure(
            ErrorKind::unavailable,
            fmt::format("{}: nothing is read or written there until it can be read; look "
                        "at its disk. Its one line is '{} {}'",
                        error.message, id_, name));
    if (may_mark_anew) return mark(folder, kind);
    if (!was_marked && !(holds_data && holds_nothing(folder))) return mark(folder, kind);
    if (holds_nothing(folder))
        return failure(ErrorKind::unavailable,
                       fmt::format("the disk of {} is not mounted: the folder is empty; mount it",
                                   folder.string()));
    return failure(
        ErrorKind::unavailable,
        fmt::format("{} is not the folder that was there: its {} is missing; mount the right disk, "
                    "or if this is it, write the line '{} {}' into that file",
                    folder.string(), kMarkerFile, id_, name));
}

}  // namespace goldlink::control
