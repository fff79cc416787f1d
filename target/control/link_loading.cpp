// Start and end: the persisted links are opened again, and closed with their overlays kept.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>
#include <future>
#include <map>
#include <set>

#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "target/control/found_overlays.hpp"
#include "target/control/identity.hpp"
#include "target/control/link_table.hpp"
#include "target/control/upload_spool.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxStateBytes = 256 << 20;
constexpr std::int64_t kFormat = 1;

std::set<std::filesystem::path> discard_overlays(const std::vector<LinkState>& states) {
    std::set<std::filesystem::path> names;
    for (const LinkState& state : states)
        for (const GenerationState* generation :
             {&state.current, state.pending ? &*state.pending : nullptr})
            if (generation != nullptr)
                for (const DiskState& disk : generation->disks)
                    if (disk.policy == disk::Policy::discard)
                        names.insert(std::filesystem::path(state.definition.id) / disk.overlay);
    return names;
}

// The one-time credential goes too: a system that ran on must not find a disk other than the one it
// has in memory. It boots again.
void end_lost_generation(LinkState& state) {
    const auto is_lost = [](const DiskState& disk) {
        return disk.policy == disk::Policy::discard && !disk.overlay.empty();
    };
    const auto& disks = state.current.disks;
    if (!state.current.logged_in || std::none_of(disks.begin(), disks.end(), is_lost)) return;
    log::warn("link {} ({}) starts afresh: its host restarted under generation {}",
              state.definition.id, state.definition.iqn, state.current.number);
    state.current = plan_generation(state.definition, &state.current, state.next_number(), false);
}

}  // namespace

// Every link that can be understood; note_lost_state() is called when there is one that cannot.
Result<std::vector<LinkState>> LinkTable::read_states(const std::string& content,
                                                      bool& host_restarted) {
    std::vector<LinkState> states;
    GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(content));
    GOLDLINK_TRY_ASSIGN(const auto format, json::int_field(o, "format", 1, INT64_MAX));
    if (format > kFormat)
        return failure(
            ErrorKind::unavailable,
            fmt::format("{} is of format {}, this program knows {}; start the newer program that "
                        "wrote it",
                        path_.string(), format, kFormat));
    // Beside overlays that are ours. Older programs did not say whose it is.
    GOLDLINK_TRY_ASSIGN(const auto owner, json::optional_string(o, "target_id", 64));
    if (owner && settings_.identity != nullptr && *owner != settings_.identity->id() &&
        settings_.check_folders(false, true))
        return failure(ErrorKind::corrupt, fmt::format("it is another installation's, {}", *owner));
    GOLDLINK_TRY_ASSIGN(const auto boot_id, json::string_field(o, "host_boot_id", 1, 64));
    host_restarted = boot_id != host_boot_id_;
    GOLDLINK_TRY_ASSIGN(const auto revision, json::int_field(o, "revision", 0, INT64_MAX));
    revision_ = static_cast<std::uint64_t>(revision);
    GOLDLINK_TRY_ASSIGN(const json::array links, json::array_field(o, "links", kMaxLinks));
    std::set<std::string> ids;
    std::string first_problem;
    std::size_t damaged = 0;
    for (const json::value& item : links) {
        auto state = item.is_object() ? LinkState::parse(item.get_object())
                                      : failure(ErrorKind::corrupt, "a link is no object");
        if (state && !ids.insert(state->definition.id).second)
            state = failure(ErrorKind::corrupt,
                            fmt::format("link {} is there twice", state->definition.id));
        if (state)
            states.push_back(std::move(*state));
        else if (damaged++ == 0)
            first_problem = state.error().message;
    }
    if (damaged > 0)
        note_lost_state(fmt::format("{} of the {} links in {} cannot be understood ({})", damaged,
                                    links.size(), path_.string(), first_problem));
    return states;
}

// From here on nothing among the overlays is taken for left over: their links are not known, and
// what is known of versions may be less than what is needed.
void LinkTable::note_lost_state(std::string why) {
    std::size_t count = 0;
    for (const auto& folder : link_folders(settings_.root))
        for (const FoundOverlay& overlay : find_overlays(folder)) {
            ++count;
            if (!overlay.version.empty()) waiting_versions_.insert(overlay.version);
        }
    state_problem_ = fmt::format(
        "{}; nothing of the {} overlays is touched, each is used again as soon as the manager "
        "names "
        "its link",
        why, count);
    log::error("{}", state_problem_);
}

Result<std::vector<LinkState>> LinkTable::parse_state_file(bool& host_restarted) {
    auto content = read_file(path_, kMaxStateBytes);
    if (!content && content.error().kind == ErrorKind::not_found) {
        // Every target that has begun to follow a registry has saved its links, were there none.
        const auto folders = link_folders(settings_.root);
        std::error_code unknown;
        if (std::filesystem::exists(path_.parent_path() / "registry.json", unknown) ||
            std::ranges::any_of(folders, [](const auto& f) { return !find_overlays(f).empty(); }))
            note_lost_state(fmt::format("{} is missing", path_.string()));
        else
            GOLDLINK_TRY(file_.save());
        return std::vector<LinkState>();
    }
    if (!content) return Failure(std::move(content).error());
    auto states = read_states(as_utf8(*content), host_restarted);
    if (!states && states.error().kind == ErrorKind::unavailable) return states;  // a newer one
    if (states && state_problem_.empty()) return states;
    // The next save replaces it: what it says may still be worth something to somebody.
    const auto aside = fmt::format("{}.damaged-{}", path_.string(), std::time(nullptr));
    GOLDLINK_TRY(replace_file(aside, *content, 0600));
    if (!states) {
        revision_ = 0;
        note_lost_state(fmt::format("{} cannot be understood ({}) and is set aside as {}",
                                    path_.string(), states.error().message, aside));
        return std::vector<LinkState>();
    }
    log::error("{} as it was is kept as {}", path_.string(), aside);
    return states;
}

// What the folder of a link that is not known has for its disks, when the state file was lost: of
// each kept disk the newest overlay over the version that is wanted. One over another version is
// named too, so that it is not replaced in silence: opening it says what is wrong. A client may be
// running on a disk of policy discard, so the newest that fits is used again; whether its journal
// still counts is seen when it is opened. Disks without one begin anew.
std::optional<GenerationState> LinkTable::found_generation(const LinkDefinition& wanted) const {
    if (state_problem().empty()) return std::nullopt;
    return generation_in_folder(wanted);
}

std::optional<GenerationState> LinkTable::generation_in_folder(const LinkDefinition& wanted) const {
    auto found = find_overlays(settings_.root / wanted.id);
    if (!settings_.ram_root.empty())  // where the journals of discard disks are
        for (FoundOverlay& overlay : find_overlays(settings_.ram_root / wanted.id))
            if (overlay.policy == disk::Policy::discard) found.push_back(std::move(overlay));
    std::uint64_t newest = 0;
    for (const FoundOverlay& overlay : found)
        newest = std::max(newest, overlay.generation.value_or(0));
    if (newest == 0) return std::nullopt;
    GenerationState generation = plan_generation(wanted, nullptr, newest + 1, true);
    for (DiskState& disk : generation.disks) {
        if (disk.overlay.empty()) continue;
        const FoundOverlay* best = nullptr;
        const auto fits = [&](const FoundOverlay& overlay) {
            return overlay.policy == disk.policy && overlay.version == disk.version;
        };
        const auto rank = [&](const FoundOverlay& overlay) {
            return std::pair(fits(overlay), overlay.generation.value_or(0));
        };
        for (const FoundOverlay& overlay : found)
            if (overlay.lun == disk.lun &&
                (disk.policy == disk::Policy::discard ? fits(overlay) : overlay.is_kept()) &&
                (best == nullptr || rank(overlay) > rank(*best)))
                best = &overlay;
        if (best == nullptr) continue;
        disk.overlay = best->name;
        disk.made = true;
    }
    return generation;
}

namespace {

bool has_kept_overlay(const std::filesystem::path& link_folder) {
    return std::ranges::any_of(find_overlays(link_folder), &FoundOverlay::is_kept);
}

std::uint64_t overlay_bytes(const std::filesystem::path& link_folder) {
    std::uint64_t bytes = 0;
    std::error_code error, inner;
    for (const auto& overlay : std::filesystem::directory_iterator(link_folder, error))
        for (const auto& file : std::filesystem::directory_iterator(overlay.path(), inner))
            bytes += disk_bytes(file.path());
    return bytes;
}

}  // namespace

std::vector<LinkTable::LeftOverlays> LinkTable::left_overlays() {
    std::map<std::string, std::uint64_t> left;
    if (!state_problem().empty()) return {};  // whose they are is not known yet
    if (!settings_.check_folders(true)) return {};
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        if (root.empty()) continue;
        std::error_code error;
        for (const auto& folder : std::filesystem::directory_iterator(root, error)) {
            const std::string id = folder.path().filename().string();
            if (!is_uuid(id)) continue;  // none of ours
            {
                const std::lock_guard lock(mutex_);
                if (links_.contains(id) || leaving_.contains(id)) continue;
            }
            left[id] += overlay_bytes(folder.path());
        }
    }
    std::vector<LeftOverlays> all;
    for (const auto& [id, bytes] : left)
        all.push_back({id, bytes, has_kept_overlay(settings_.root / id)});
    return all;
}

// A link of that id may be made at any moment, and make its folder: ours is moved aside first, with
// the table held, then deleted. What is not, the next start deletes. Kept overlays go to the trash.
Result<> LinkTable::remove_left_overlays(const std::string& link_id) {
    if (const std::string problem = state_problem(); !problem.empty())
        return failure(ErrorKind::conflict, problem);
    if (has_kept_overlay(settings_.root / link_id)) return trash_left(link_id);
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        if (root.empty()) continue;
        const auto aside = root / fmt::format("{}{}", kLeftPrefix, random_uuid());
        std::error_code error;
        {
            const std::lock_guard lock(mutex_);
            if (links_.contains(link_id) || leaving_.contains(link_id)) return {};
            std::filesystem::rename(root / link_id, aside, error);
        }
        if (error == std::errc::no_such_file_or_directory) continue;
        if (error)
            return system_failure(fmt::format("cannot move {}", (root / link_id).string()),
                                  error.value());
        for (const auto& overlay : std::filesystem::directory_iterator(aside, error))
            GOLDLINK_TRY(disk::LinkDisk::destroy(overlay.path(), {}));
        std::filesystem::remove(aside, error);
        if (error)
            return system_failure(
                fmt::format("{} holds files that are no overlay's", aside.string()), error.value());
    }
    return {};
}

Result<> LinkTable::load() {
    bool host_restarted = false;
    GOLDLINK_TRY_ASSIGN(std::vector<LinkState> states, parse_state_file(host_restarted));
    const OverlayNames were_discard = discard_overlays(states);
    if (host_restarted)
        for (LinkState& state : states) {
            end_lost_generation(state);
            forget_lost_overlays(state.current);
            if (state.pending) forget_lost_overlays(*state.pending);
        }
    const bool hold_data = std::any_of(states.begin(), states.end(), [](const LinkState& state) {
        return std::any_of(state.current.disks.begin(), state.current.disks.end(),
                           [](const DiskState& disk) {
                               return disk.made && disk.policy != disk::Policy::discard;
                           });
    });
    if (settings_.identity == nullptr) GOLDLINK_TRY(make_directories(settings_.root));
    const auto there = settings_.check_folders(true, hold_data);
    if (!there) log::error("{}; links with overlays there wait", there.error().message);
    std::vector<LinkPointer> links;
    std::set<std::string> in_use;
    {
        const std::lock_guard lock(mutex_);
        for (LinkState& state : states) {
            LinkPointer link = make_link(state.definition.id);
            link->state = std::move(state);
            links.push_back(std::move(link));
        }
        if (there) settle_trash();
        if (there && state_problem_.empty()) settle_orphans(were_discard);
    }
    for (const LinkPointer& link : links) {
        const std::lock_guard operation(link->operation);
        const LinkState state = state_of(link);
        open_current(link, state.current, false);
        if (!state.pending) continue;
        const auto prepared = open_on(link, *state.pending, [](LiveLink& live, UnitsPlan plan) {
            live.prepare(std::move(plan));
        });
        if (prepared) continue;
        log::warn("the prepared boot of link {} is dropped: {}", link->id,
                  prepared.error().message);
        const std::lock_guard lock(mutex_);
        link->state.pending.reset();
        list(link);
    }
    for (const LinkPointer& link : links)
        for (const DiskDefinition& disk : state_of(link).definition.disks)
            in_use.insert(disk.version);
    for (const std::string& version : in_use) traces_.prewarm_behind(version);
    if (host_restarted) GOLDLINK_TRY(file_.save());
    run_retries();
    if (!links.empty()) log::info("{} links at revision {}", links.size(), revision_);
    return {};
}

void LinkTable::close() {
    stop_retries();
    std::vector<LinkPointer> links;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, link] : links_) links.push_back(link);
        listing_ = std::make_shared<Listing>();
    }
    for (const LinkPointer& link : links) {
        std::promise<void> closed;
        link->live->reactor().post([&] {
            link->live->close(iscsi::SessionEnd::removed, [&closed] { closed.set_value(); });
        });
        closed.get_future().wait();
    }
    if (const auto saved = file_.save(); !saved)
        log::error("the state of links is not saved: {}", saved.error().message);
}

}  // namespace goldlink::control
