// The table itself: lookup, listing, views, and what reactors report.
#include "target/control/link_table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.hpp"
#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/iscsi_name.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "target/control/identity.hpp"
#include "target/iscsi/text.hpp"

namespace goldlink::control {

namespace {

std::string read_host_boot_id() {
    auto text = read_file("/proc/sys/kernel/random/boot_id", 100);
    if (!text) return "unknown";
    while (!text->empty() && text->back() == '\n') text->pop_back();
    return *text;
}

}  // namespace

LinkTable::LinkTable(std::filesystem::path state_folder, OverlaySettings settings,
                     store::ImageStore& store, EventLog& events,
                     std::vector<reactor::Reactor*> reactors, BootTraces& traces)
    : path_(state_folder / "links.json"),
      host_boot_id_(read_host_boot_id()),
      settings_(std::move(settings)),
      store_(store),
      events_(events),
      reactors_(std::move(reactors)),
      traces_(traces),
      links_per_reactor_(reactors_.size()),
      trash_(settings_.root, settings_.keep_trash),
      file_(path_, [this] { return snapshot(); }) {
    CHECK(!reactors_.empty(), "links need a reactor");
}

LinkTable::~LinkTable() { stop_retries(); }

LinkTable::LinkPointer LinkTable::find(std::string_view id) const {
    const std::lock_guard lock(mutex_);
    const auto it = links_.find(id);
    return it == links_.end() ? nullptr : it->second;
}

LinkTable::LinkPointer LinkTable::make_link(std::string id) {
    auto link = std::make_shared<Link>();
    const auto least = std::min_element(links_per_reactor_.begin(), links_per_reactor_.end());
    link->reactor = static_cast<unsigned>(least - links_per_reactor_.begin());
    ++*least;
    link->live =
        std::make_shared<LiveLink>(*reactors_[link->reactor], settings_, make_listener(id));
    link->id = id;
    links_.emplace(std::move(id), link);
    return link;
}

LiveLinkListener LinkTable::make_listener(const std::string& id) {
    LiveLinkListener listener;
    listener.generation_started = [this, id](std::uint64_t number) {
        generation_started(id, number);
    };
    listener.stage_reached = [this, id](const GenerationState& state) { stage_reached(id, state); };
    listener.event = [this, id](std::string_view kind, const GenerationState& state,
                                json::object data) {
        json::object members{
            {"link_id", id}, {"generation", state.number}, {"data", std::move(data)}};
        if (state.boot_id.empty())
            members["boot_id"] = nullptr;
        else
            members["boot_id"] = state.boot_id;
        events_.append(kind, members);
    };
    listener.run_behind = [this](std::function<void()> work) { background_.post(std::move(work)); };
    listener.refused = [this, id](const iscsi::SessionInfo& info, std::string_view why) {
        const LinkPointer link = find(id);
        login_refused(link ? state_of(link).definition.iqn : id, info.initiator_name, info.address,
                      why);
    };
    if (traces_.length().count() > 0) {
        listener.trace_time = traces_.length();
        listener.begin_trace = [&traces = traces_](const std::string& version,
                                                   std::uint64_t size_bytes) {
            return traces.begin(version, size_bytes);
        };
        listener.end_trace = [&traces = traces_](const std::string& version,
                                                 std::shared_ptr<const disk::ReadTrace> trace) {
            traces.end(version, std::move(trace));
        };
    }
    listener.reads_ended = [this](const std::string& version, const disk::ReadCounters& reads) {
        const std::lock_guard lock(mutex_);
        disk::ReadCounters& total = ended_reads_[version];
        total.cache_hits += reads.cache_hits;
        total.cache_misses += reads.cache_misses;
    };
    listener.overlays_released = [this, id](const std::vector<std::string>& overlays) {
        destroy_overlays(id, overlays);
    };
    return listener;
}

LinkState LinkTable::state_of(const LinkPointer& link) const {
    const std::lock_guard lock(mutex_);
    return link->state;
}

LinkView LinkTable::view_of(const LinkPointer& link) {
    LinkView view;
    link->live->reactor().run_and_wait([&] { view.report = link->live->report(); });
    view.state = state_of(link);
    return view;
}

std::optional<LinkView> LinkTable::view(std::string_view id) {
    const LinkPointer link = find(id);
    if (!link) return std::nullopt;
    return view_of(link);
}

std::vector<LinkView> LinkTable::view_all() {
    std::vector<LinkPointer> links;
    std::vector<LinkView> views;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, link] : links_) {
            links.push_back(link);
            views.push_back({link->state, {}});
        }
    }
    // One visit to each reactor, however many links it has.
    for (unsigned index = 0; index < reactors_.size(); ++index)
        reactors_[index]->run_and_wait([&] {
            for (std::size_t i = 0; i < links.size(); ++i)
                if (links[i]->reactor == index) views[i].report = links[i]->live->report();
        });
    return views;
}

std::map<std::string, disk::ReadCounters> LinkTable::reads_by_version() {
    const std::vector<LinkView> views = view_all();
    std::map<std::string, disk::ReadCounters> reads;
    {
        const std::lock_guard lock(mutex_);
        reads = ended_reads_;
    }
    for (const LinkView& view : views)
        for (const LinkReport::Disk& disk : view.report.disks) {
            reads[disk.state.version].cache_hits += disk.reads.cache_hits;
            reads[disk.state.version].cache_misses += disk.reads.cache_misses;
        }
    return reads;
}

void LinkTable::version_removed(const std::string& digest) {
    traces_.forget(digest);
    const std::lock_guard lock(mutex_);
    ended_reads_.erase(digest);
}

std::vector<std::string> LinkTable::users_of_version(std::string_view digest) const {
    std::vector<std::string> users;
    const std::lock_guard lock(mutex_);
    for (const auto& [id, link] : links_)
        if (link->state.refers_to(digest)) users.push_back(id);
    return users;
}

bool LinkTable::needs_version(const std::string& digest) const {
    if (!users_of_version(digest).empty() || !trash_.users_of_version(digest).empty()) return true;
    const std::lock_guard lock(mutex_);
    return waiting_versions_.contains(digest);
}

std::string LinkTable::state_problem() const {
    const std::lock_guard lock(mutex_);
    return state_problem_;
}

bool LinkTable::has_state() const {
    const std::lock_guard lock(mutex_);
    return !links_.empty() || !state_problem_.empty();
}

std::uint64_t LinkTable::revision() const {
    const std::lock_guard lock(mutex_);
    return revision_;
}

std::size_t LinkTable::size() const {
    const std::lock_guard lock(mutex_);
    return links_.size();
}

namespace {

// Keeps the live link alive for as long as a login holds the entry.
struct ListedTarget {
    iscsi::TargetEntry entry;
    std::shared_ptr<LiveLink> live;
};

void add_boot(iscsi::TargetEntry& entry, const GenerationState& generation) {
    if (!generation.username.empty()) {
        iscsi::Credential credential;
        credential.username = generation.username;
        credential.secret = generation.secret;
        credential.generation = generation.number;
        entry.credentials.push_back(std::move(credential));
    }
    // The boot's own initiator may log in even where the registry's list does not name it.
    if (!entry.allowed_initiators.empty() && !generation.initiator.empty())
        entry.allowed_initiators.push_back(generation.initiator);
}

}  // namespace

void LinkTable::list(const LinkPointer& link) {
    auto listed = std::make_shared<ListedTarget>();
    const LinkDefinition& definition = link->state.definition;
    listed->live = link->live;
    listed->entry.iqn = definition.iqn;
    listed->entry.alias = definition.alias;
    listed->entry.reactor = link->reactor;
    listed->entry.credentials = definition.credentials;
    listed->entry.allowed_initiators = definition.allowed_initiators;
    listed->entry.redirect = link->state.redirect;
    listed->entry.endpoint = link->live.get();
    add_boot(listed->entry, link->state.current);
    if (link->state.pending) add_boot(listed->entry, *link->state.pending);
    auto next = std::make_shared<Listing>(*listing_);
    std::erase_if(*next,
                  [&](const auto& item) { return item.second->endpoint == link->live.get(); });
    const iscsi::TargetEntry* const entry = &listed->entry;
    (*next)[definition.iqn] = std::shared_ptr<const iscsi::TargetEntry>(std::move(listed), entry);
    listing_ = std::move(next);
}

void LinkTable::unlist(const Link& link) {
    auto next = std::make_shared<Listing>(*listing_);
    std::erase_if(*next,
                  [&](const auto& item) { return item.second->endpoint == link.live.get(); });
    listing_ = std::move(next);
}

std::shared_ptr<const iscsi::TargetEntry> LinkTable::find_target(std::string_view iqn) const {
    std::shared_ptr<const Listing> listing;
    {
        const std::lock_guard lock(mutex_);
        listing = listing_;
    }
    const auto it = listing->find(iqn);
    return it == listing->end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<const iscsi::TargetEntry>> LinkTable::list_targets(
    std::string_view initiator_name) const {
    std::shared_ptr<const Listing> listing;
    {
        const std::lock_guard lock(mutex_);
        listing = listing_;
    }
    std::vector<std::shared_ptr<const iscsi::TargetEntry>> found;
    for (const auto& [iqn, entry] : *listing) {
        const auto& allowed = entry->allowed_initiators;
        // As the login compares them: names are equal after folding (RFC 7143 4.2.7.1).
        const auto is_this = [&](const std::string& name) {
            return iscsi::fold_name(name) == initiator_name;
        };
        if (allowed.empty() || std::any_of(allowed.begin(), allowed.end(), is_this))
            found.push_back(entry);
    }
    return found;
}

// All of it but the address is what a stranger sent, or may quote it.
void LinkTable::login_refused(std::string_view iqn_sent, std::string_view initiator_sent,
                              std::string_view address, std::string_view why_told) {
    constexpr std::size_t kMaxWhyBytes = 300;
    const std::string iqn = clean_text(iqn_sent, kMaxIscsiNameBytes);
    const std::string initiator_name = clean_text(initiator_sent, kMaxIscsiNameBytes);
    const std::string why = clean_text(why_told, kMaxWhyBytes);
    const std::string_view host = address.substr(0, address.rfind(':'));
    std::optional<std::uint64_t> unsaid;
    {
        const std::lock_guard lock(refusals_mutex_);
        unsaid = refusals_.admit(fmt::format("{}\n{}\n{}\n{}", iqn, initiator_name, host, why),
                                 std::chrono::steady_clock::now());
    }
    if (!unsaid) return;
    std::string link_id;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, link] : links_)
            if (link->state.definition.iqn == iqn) link_id = id;
    }
    json::object data{
        {"iqn", iqn}, {"initiator_name", initiator_name}, {"address", address}, {"why", why}};
    if (*unsaid > 0) data["repeats"] = *unsaid;
    json::object members{{"boot_id", nullptr}, {"generation", nullptr}, {"data", std::move(data)}};
    if (link_id.empty())
        members["link_id"] = nullptr;
    else
        members["link_id"] = link_id;
    events_.append("login_refused", members);
    log::warn("login of {} from {} to {} refused: {}", initiator_name, address, iqn, why);
}

void LinkTable::generation_started(const std::string& id, std::uint64_t number) {
    {
        const std::lock_guard lock(mutex_);
        const auto it = links_.find(id);
        if (it == links_.end()) return;
        LinkState& state = it->second->state;
        if (!state.pending || state.pending->number != number) return;
        state.current = std::move(*state.pending);
        state.pending.reset();
        list(it->second);
    }
    save_behind();
}

void LinkTable::stage_reached(const std::string& id, const GenerationState& reached) {
    {
        const std::lock_guard lock(mutex_);
        const auto it = links_.find(id);
        if (it == links_.end() || it->second->state.current.number != reached.number) return;
        GenerationState& state = it->second->state.current;
        if (state.logged_in == reached.logged_in && state.os_logged_in == reached.os_logged_in &&
            state.written == reached.written)
            return;
        state.logged_in = reached.logged_in;
        state.os_logged_in = reached.os_logged_in;
        state.written = reached.written;
    }
    save_behind();
}

void LinkTable::save_behind() {
    background_.post([this] {
        if (const auto saved = file_.save(); !saved)
            log::error("the state of links is not saved: {}", saved.error().message);
    });
}

void LinkTable::destroy_overlays(const std::string& id, const std::vector<std::string>& overlays) {
    // Behind the save that was posted before: the file never names an overlay that is gone.
    background_.post([this, id, overlays] {
        for (const std::string& overlay : overlays) {
            const auto destroyed = disk::LinkDisk::destroy(settings_.folder(id, overlay),
                                                           settings_.ram_folder(id, overlay));
            if (!destroyed)
                log::warn("overlay {} of link {} is not deleted: {}", overlay, id,
                          destroyed.error().message);
        }
    });
}

std::string LinkTable::snapshot() const {
    const std::lock_guard lock(mutex_);
    json::object o;
    o["format"] = 1;
    if (settings_.identity != nullptr) o["target_id"] = settings_.identity->id();
    o["host_boot_id"] = host_boot_id_;
    o["revision"] = revision_;
    std::string text = json::serialize(o);
    text.pop_back();
    text += ",\"links\":[";
    for (const auto& [id, link] : links_) {
        if (link->state.current.number == 0) continue;
        if (link->told_text.empty() || link->state != link->told) {
            link->told_text = json::serialize(link->state.to_json());
            link->told = link->state;
        }
        if (text.back() != '[') text += ',';
        text += link->told_text;
    }
    text += "]}";
    return text;
}

}  // namespace goldlink::control
