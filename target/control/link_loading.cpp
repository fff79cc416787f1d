// Start and end: the persisted links are opened again, and closed with their overlays kept.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <future>
#include <map>
#include <set>

#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "target/control/link_table.hpp"
#include "target/control/upload_spool.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxStateBytes = 256 << 20;
constexpr std::int64_t kFormat = 1;

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

Result<std::vector<LinkState>> LinkTable::parse_state_file(bool& host_restarted) {
    std::vector<LinkState> states;
    auto content = read_file(path_, kMaxStateBytes);
    if (!content && content.error().kind == ErrorKind::not_found) return states;
    if (!content) return Failure(std::move(content).error());
    const auto parse = [&]() -> Result<> {
        GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(*content));
        GOLDLINK_TRY(json::int_field(o, "format", kFormat, kFormat));
        GOLDLINK_TRY_ASSIGN(const auto boot_id, json::string_field(o, "host_boot_id", 1, 64));
        host_restarted = boot_id != host_boot_id_;
        GOLDLINK_TRY_ASSIGN(const auto revision, json::int_field(o, "revision", 0, INT64_MAX));
        revision_ = static_cast<std::uint64_t>(revision);
        GOLDLINK_TRY_ASSIGN(const json::array links, json::array_field(o, "links", kMaxLinks));
        for (const json::value& item : links) {
            if (!item.is_object()) return failure(ErrorKind::corrupt, "a link is no object");
            GOLDLINK_TRY_ASSIGN(LinkState state, LinkState::parse(item.get_object()));
            states.push_back(std::move(state));
        }
        return {};
    };
    if (auto parsed = parse(); !parsed) {
        Error error = std::move(parsed).error();
        error.kind = ErrorKind::corrupt;
        return Failure(std::move(error).with_context(
            fmt::format("{} cannot be understood; restore it, or move it away and let the manager "
                        "send all links again",
                        path_.string())));
    }
    return states;
}

// Overlays that no link names: of links removed, and of boots superseded, just before a kill.
void LinkTable::remove_orphans() {
    std::set<std::filesystem::path> wanted;
    for (const auto& [id, link] : links_) {
        const auto add = [&, link_id = id](const GenerationState& generation) {
            for (const DiskState& disk : generation.disks)
                if (!disk.overlay.empty())
                    wanted.insert(std::filesystem::path(link_id) / disk.overlay);
        };
        add(link->state.current);
        if (link->state.pending) add(*link->state.pending);
    }
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        if (root.empty()) continue;
        std::error_code error;
        std::vector<std::filesystem::path> orphans;
        for (const auto& link : std::filesystem::directory_iterator(root, error)) {
            std::error_code inner;
            for (const auto& overlay : std::filesystem::directory_iterator(link.path(), inner))
                if (!wanted.contains(link.path().filename() / overlay.path().filename()))
                    orphans.push_back(overlay.path());
        }
        for (const auto& orphan : orphans) {
            log::info("deleting overlay {}, which no link uses", orphan.string());
            if (const auto destroyed = disk::LinkDisk::destroy(orphan, {}); !destroyed)
                log::warn("{} is not deleted: {}", orphan.string(), destroyed.error().message);
            std::filesystem::remove(orphan.parent_path(), error);  // when it was the last
        }
    }
}

namespace {

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
    for (const auto& [id, bytes] : left) all.push_back({id, bytes});
    return all;
}

// A link of that id may be made at any moment, and make its folder: ours is moved aside first, with
// the table held, then deleted. What is not, the next start deletes.
Result<> LinkTable::remove_left_overlays(const std::string& link_id) {
    for (const auto& root : {settings_.root, settings_.ram_root}) {
        if (root.empty()) continue;
        const auto aside = root / fmt::format(".left-{}", random_uuid());
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
    GOLDLINK_TRY(make_directories(settings_.root));
    if (!settings_.ram_root.empty()) GOLDLINK_TRY(make_directories(settings_.ram_root));
    bool host_restarted = false;
    GOLDLINK_TRY_ASSIGN(std::vector<LinkState> states, parse_state_file(host_restarted));
    if (host_restarted)
        for (LinkState& state : states) end_lost_generation(state);
    std::vector<LinkPointer> links;
    std::set<std::string> in_use;
    {
        const std::lock_guard lock(mutex_);
        for (LinkState& state : states) {
            LinkPointer link = make_link(state.definition.id);
            link->state = std::move(state);
            links.push_back(std::move(link));
        }
        remove_orphans();
    }
    for (const LinkPointer& link : links) {
        const std::lock_guard operation(link->operation);
        const LinkState state = state_of(link);
        open_current(link, state.current, false);
        if (!state.pending) continue;
        auto plan = this->plan(link, *state.pending);
        const auto prepared =
            plan ? run_on(link, [&](LiveLink& live) { return live.prepare(*plan); })
                 : Result<>(Failure(plan.error()));
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
    if (!links.empty()) log::info("{} links at revision {}", links.size(), revision_);
    return {};
}

void LinkTable::close() {
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
