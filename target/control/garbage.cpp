#include "target/control/garbage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <map>
#include <set>

#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "target/store/garbage.hpp"

namespace goldlink::control {

// What tasks have in hand.
struct GarbageCollector::Protected {
    std::uint64_t made_until = store::ImageStore::kWhenever;  // what was made later stays
    std::set<std::string> versions, uploads;
    std::map<std::string, std::vector<std::string>> made_by;  // version -> tasks that ended with it
};

namespace {

// The digest in a task's result ("\"version\":{\"digest\":...}"); "" when it made none.
std::string made_version(const std::string& result) {
    const auto parsed = json::parse_object("{" + result + "}");
    if (!parsed) return {};
    const auto* version = parsed->if_contains("version");
    if (version == nullptr || !version->is_object()) return {};
    return json::string_field(version->get_object(), "digest", 64, 64).value_or("");
}

constexpr std::string_view kMaking[] = {"import", "commit", "save", "grow"};

std::string reason_of(std::string_view kind) {
    if (kind == "version") return "nobody wants it";
    if (kind == "upload") return "no task waits for it: its import ended, or never began";
    if (kind == "export") return "it was there to be fetched for a day";
    if (kind == "overlay") return "its link is gone, and it could not be deleted then";
    if (kind == "manifest") return "left by a version that was removed, or not finished";
    if (kind == "chunks") return "no version has them: their removal failed";
    if (kind == "free_space") return "free space of the packs that could not be given back before";
    return "no version has data in it any more";
}

GarbageItem item(std::string kind, std::string name, std::uint64_t bytes) {
    std::string reason = reason_of(kind);
    return {std::move(kind), std::move(name), bytes, std::nullopt, std::move(reason)};
}

// One that may be somebody's work goes to the trash first: nothing comes back by that.
GarbageItem overlay_item(const LinkTable::LeftOverlays& left) {
    GarbageItem found = item("overlay", left.link_id, left.is_kept ? 0 : left.bytes);
    if (left.is_kept)
        found.reason = "its link is gone; it goes to the trash, and from there in days";
    return found;
}

void add_store_items(GarbageReport& report, const store::StoreGarbage& garbage) {
    for (const store::LeftFile& manifest : garbage.manifests)
        report.items.push_back(item("manifest", manifest.name, manifest.bytes));
    if (garbage.orphan_chunks > 0)
        report.items.push_back(item("chunks", "", garbage.orphan_chunks * store::kChunkBytes));
    if (garbage.free_slot_bytes > 0)
        report.items.push_back(item("free_space", "", garbage.free_slot_bytes));
    for (const store::LeftFile& pack : garbage.packs)
        report.items.push_back(item("pack", pack.name, pack.bytes));
}

}  // namespace

std::uint64_t GarbageReport::bytes() const {
    std::uint64_t total = 0;
    for (const GarbageItem& item : items) total += item.bytes;
    return total;
}

GarbageCollector::GarbageCollector(store::ImageStore& store, LinkTable& links,
                                   const TaskQueue& tasks, UploadSpool& uploads,
                                   ExportFiles& exports)
    : store_(store),
      links_(links),
      tasks_(tasks),
      uploads_(uploads),
      exports_(exports),
      epoch_(random_uuid()) {}

GarbageCollector::Protected GarbageCollector::protected_now() const {
    Protected in_hand;
    in_hand.made_until = store_.made_count();
    tasks_.for_each([&](const TaskQueue::View& task) {
        const bool makes = std::find(std::begin(kMaking), std::end(kMaking), task.request.kind) !=
                           std::end(kMaking);
        if (task.ended) {
            if (makes) in_hand.made_by[made_version(task.result)].push_back(task.request.id);
            return;
        }
        if (makes && task.running) in_hand.made_until = std::min(in_hand.made_until, task.stamp);
        for (const auto& [name, value] : task.request.arguments) {
            if (name == "digest") in_hand.versions.insert(value);
            if (name == "upload") in_hand.uploads.insert(value);
        }
    });
    return in_hand;
}

Result<std::uint64_t> GarbageCollector::parse_mark(const std::string& mark) const {
    const std::size_t colon = mark.find(':');
    std::uint64_t value = 0;
    if (colon != std::string::npos) {
        const char* const end = mark.data() + mark.size();
        const auto [stop, error] = std::from_chars(mark.data() + colon + 1, end, value);
        if (stop == end && error == std::errc() && mark.substr(0, colon) == epoch_) return value;
    }
    return failure(ErrorKind::conflict,
                   "this target was started after that mark was given: look at GET /gc anew");
}

Result<> GarbageCollector::check_mark(const std::string& mark) const {
    GOLDLINK_TRY(parse_mark(mark));
    return {};
}

Result<GarbageCandidates> GarbageCollector::candidates() const {
    Protected in_hand = protected_now();  // before the versions are listed
    GarbageCandidates found;
    found.mark = fmt::format("{}:{}", epoch_, in_hand.made_until);
    GOLDLINK_TRY_ASSIGN(const auto versions, store_.list());
    for (const store::VersionInfo& version : versions)
        if (!in_hand.versions.contains(version.digest) &&
            store_.made_at(version.digest) <= in_hand.made_until &&
            !links_.needs_version(version.digest))
            found.versions.push_back({version, in_hand.made_by[version.digest]});
    for (SpooledFile& upload : uploads_.list())
        if (!in_hand.uploads.contains(upload.name)) found.uploads.push_back(std::move(upload));
    return found;
}

Result<GarbageReport> GarbageCollector::look(const GarbageRequest& request) const {
    GOLDLINK_TRY_ASSIGN(const std::uint64_t made_until, parse_mark(request.mark));
    const Protected in_hand = protected_now();
    GOLDLINK_TRY_ASSIGN(const auto listed, store_.list());
    GarbageReport report;
    std::vector<const store::VersionInfo*> leaving;
    std::vector<std::string> digests;
    for (const std::string& digest : request.versions) {
        const auto info = std::find_if(
            listed.begin(), listed.end(),
            [&](const store::VersionInfo& version) { return version.digest == digest; });
        if (info == listed.end()) continue;  // gone already
        if (in_hand.versions.contains(digest) || store_.made_at(digest) > made_until ||
            links_.needs_version(digest)) {
            report.kept.push_back({"version", digest, "a link, the trash or a task needs it"});
            continue;
        }
        leaving.push_back(&*info);
        digests.push_back(digest);
    }
    GOLDLINK_TRY_ASSIGN(const store::StoreGarbage garbage, store_.garbage(digests));
    for (std::size_t i = 0; i < digests.size(); ++i) {
        const auto& bytes = garbage.versions[i];
        if (!bytes) {
            report.kept.push_back({"version", digests[i], bytes.error().message});
            continue;
        }
        GarbageItem version = item("version", digests[i], *bytes);
        version.own_bytes = leaving[i]->unique_bytes;
        report.items.push_back(std::move(version));
    }
    const auto spooled = uploads_.list();
    for (const SpooledFile& upload : spooled)
        if (std::find(request.uploads.begin(), request.uploads.end(), upload.name) !=
                request.uploads.end() &&
            !in_hand.uploads.contains(upload.name))
            report.items.push_back(item("upload", upload.name, upload.bytes));
    for (const std::string& name : exports_.old())
        report.items.push_back(item("export", name, exports_.bytes_of(name)));
    for (const LinkTable::LeftOverlays& left : links_.left_overlays())
        report.items.push_back(overlay_item(left));
    add_store_items(report, garbage);
    return report;
}

// What is a file or a folder of its own.
std::optional<Result<>> GarbageCollector::remove_file(const GarbageItem& file) {
    if (file.kind == "upload") return uploads_.remove(file.name);
    if (file.kind == "export") return exports_.remove_file(file.name);
    if (file.kind == "overlay") return links_.remove_left_overlays(file.name);
    return std::nullopt;
}

Result<GarbageReport> GarbageCollector::collect(const GarbageRequest& request,
                                                store::Progress& progress) {
    GOLDLINK_TRY_ASSIGN(const std::uint64_t mark, parse_mark(request.mark));
    GOLDLINK_TRY_ASSIGN(GarbageReport planned, look(request));
    progress.total_bytes = planned.bytes();
    GarbageReport report;
    report.kept = std::move(planned.kept);
    // First what is left over: what becomes free by removing versions gives its space back itself.
    store::StoreGarbage went;
    if (const auto collected = store_.collect_left_overs(went, progress); !collected) {
        if (progress.cancel) return Failure(collected.error());
        report.kept.push_back({"free_space", "", collected.error().message});
    }
    for (const GarbageItem& file : planned.items) {
        if (progress.cancel) return failure(ErrorKind::cancelled, "the clean-up was cancelled");
        const auto removed = remove_file(file);
        if (!removed) continue;
        if (!*removed) {
            report.kept.push_back({file.kind, file.name, removed->error().message});
            continue;
        }
        report.items.push_back(file);
        progress.done_bytes += file.bytes;
    }
    std::vector<GarbageItem> versions;
    std::copy_if(planned.items.begin(), planned.items.end(), std::back_inserter(versions),
                 [](const GarbageItem& one) { return one.kind == "version"; });
    collect_versions(versions, mark, report, progress);
    if (progress.cancel) return failure(ErrorKind::cancelled, "the clean-up was cancelled");
    if (const auto dropped = store_.drop_empty_packs(went); !dropped)
        report.kept.push_back({"pack", "", dropped.error().message});
    add_store_items(report, went);
    std::stable_partition(report.items.begin(), report.items.end(),
                          [](const GarbageItem& one) { return one.kind == "version"; });
    log::info("gc: {} things went, {} bytes came back, {} things stay", report.items.size(),
              report.bytes(), report.kept.size());
    return report;
}

Result<> GarbageCollector::remove_version(const std::string& digest, const std::string& mark) {
    GOLDLINK_TRY_ASSIGN(const std::uint64_t made_until, parse_mark(mark));
    return remove_version(digest, made_until);
}

Result<> GarbageCollector::remove_version(const std::string& digest, std::uint64_t made_until) {
    if (protected_now().versions.contains(digest) || links_.needs_version(digest))
        return failure(ErrorKind::conflict, "a link, the trash or a task needs it");
    GOLDLINK_TRY(store_.remove(digest, made_until));
    links_.version_removed(digest);
    return {};
}

void GarbageCollector::collect_versions(const std::vector<GarbageItem>& versions,
                                        std::uint64_t mark, GarbageReport& report,
                                        store::Progress& progress) {
    for (const GarbageItem& version : versions) {
        if (progress.cancel) return;
        const auto removed = remove_version(version.name, mark);
        if (!removed && removed.error().kind == ErrorKind::not_found) continue;
        if (!removed) {
            report.kept.push_back({version.kind, version.name, removed.error().message});
            continue;
        }
        report.items.push_back(version);
        progress.done_bytes += version.bytes;
    }
}

}  // namespace goldlink::control
