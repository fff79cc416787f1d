#include "manager/garbage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace goldlink::manager {
namespace {

constexpr std::size_t kMaxListed = 1'000'000;
constexpr std::size_t kMaxAtOnce = 5000;  // the target's bound; the rest goes the next time
constexpr std::chrono::seconds kTimeout{30};

constexpr std::string_view kSuperseded =
    "superseded: no channel, link, group or task uses it, and newer versions are kept";
constexpr std::string_view kUnknown =
    "no image has it: left by an import, commit or transfer that did not end well, or by a "
    "registry that was restored";

Result<GarbageCandidates> parse_candidates(const std::string& body) {
    GOLDLINK_TRY_ASSIGN(const auto answer, json::parse_object(body));
    GarbageCandidates found;
    GOLDLINK_TRY_ASSIGN(found.mark, json::string_field(answer, "mark", 1, 64));
    GOLDLINK_TRY_ASSIGN(const auto versions, json::array_field(answer, "versions", kMaxListed));
    for (const json::value& item : versions) {
        if (!item.is_object()) return failure(ErrorKind::invalid, "a version is no object");
        GarbageCandidates::Version version;
        GOLDLINK_TRY_ASSIGN(version.digest,
                            json::string_field(item.get_object(), "digest", 64, 64));
        GOLDLINK_TRY_ASSIGN(const auto tasks,
                            json::array_field(item.get_object(), "tasks", kMaxListed));
        for (const json::value& task : tasks)
            if (const auto* id = task.if_string()) version.tasks.emplace_back(*id);
        found.versions.push_back(std::move(version));
    }
    GOLDLINK_TRY_ASSIGN(const auto uploads, json::array_field(answer, "uploads", kMaxListed));
    for (const json::value& item : uploads) {
        if (!item.is_object()) return failure(ErrorKind::invalid, "an upload is no object");
        GOLDLINK_TRY_ASSIGN(auto name, json::string_field(item.get_object(), "name", 1, 255));
        found.uploads.push_back(std::move(name));
    }
    return found;
}

json::object version_item(const std::string& name, const std::string& digest, json::value bytes,
                          json::value own_bytes, std::string reason) {
    return {{"kind", "version"},
            {"name", name},
            {"digest", digest},
            {"bytes", std::move(bytes)},
            {"own_bytes", std::move(own_bytes)},
            {"reason", std::move(reason)}};
}

}  // namespace

bool GarbageCandidates::has(const std::string& digest) const {
    return std::any_of(versions.begin(), versions.end(),
                       [&](const Version& version) { return version.digest == digest; });
}

PeerResult<GarbageCandidates> garbage_candidates(const Peer& target) {
    const auto answer = target.call("GET", "/gc", "", kTimeout);
    if (!answer) return tl::unexpected(answer.error());
    auto found = parse_candidates(*answer);
    if (!found)
        return tl::unexpected(PeerError{
            502, "peer-answer",
            fmt::format("the target's answer is not understood ({}); are manager and target of the "
                        "same version?",
                        found.error().message)});
    return std::move(*found);
}

bool is_needed(const GarbageCandidates& candidates, const db::RegistryNeeds& needs,
               const std::string& digest) {
    if (needs.digests.contains(digest)) return true;
    const auto there = std::find_if(
        candidates.versions.begin(), candidates.versions.end(),
        [&](const GarbageCandidates::Version& version) { return version.digest == digest; });
    return there != candidates.versions.end() &&
           std::any_of(there->tasks.begin(), there->tasks.end(),
                       [&](const std::string& task) { return needs.tasks.contains(task); });
}

json::object unwanted(const GarbageCandidates& candidates, const db::RegistryNeeds& needs) {
    json::array versions, uploads;
    for (const GarbageCandidates::Version& version : candidates.versions) {
        if (versions.size() < kMaxAtOnce && !is_needed(candidates, needs, version.digest))
            versions.emplace_back(version.digest);
    }
    for (const std::string& upload : candidates.uploads)
        if (!needs.uploads.contains(upload) && uploads.size() < kMaxAtOnce)
            uploads.emplace_back(upload);
    return {{"mark", candidates.mark},
            {"versions", std::move(versions)},
            {"uploads", std::move(uploads)}};
}

json::array superseded_json(const std::vector<db::UnusedVersion>& versions) {
    json::array array;
    for (const db::UnusedVersion& version : versions)
        array.push_back(json::object{{"name", fmt::format("{}@{}", version.image, version.number)},
                                     {"digest", version.digest}});
    return array;
}

Result<json::object> garbage_view(const json::object& report, const json::array& superseded,
                                  bool dry_run) {
    std::multimap<std::string, std::string> names;  // digest -> "win11@3"
    for (const json::value& version : superseded) {
        if (!version.is_object()) continue;
        GOLDLINK_TRY_ASSIGN(auto name, json::string_field(version.get_object(), "name", 1, 100));
        GOLDLINK_TRY_ASSIGN(auto digest,
                            json::string_field(version.get_object(), "digest", 64, 64));
        names.emplace(std::move(digest), std::move(name));
    }
    const auto name_of = [&](const std::string& digest) {
        const auto found = names.find(digest);
        return found == names.end() ? digest.substr(0, 12) : found->second;
    };
    json::array items, kept;
    std::set<std::string> seen;  // digests
    GOLDLINK_TRY_ASSIGN(const auto reported, json::array_field(report, "items", kMaxListed));
    for (const json::value& value : reported) {
        if (!value.is_object()) return failure(ErrorKind::invalid, "an item is no object");
        const json::object& item = value.get_object();
        GOLDLINK_TRY_ASSIGN(const auto kind, json::string_field(item, "kind", 1, 32));
        GOLDLINK_TRY_ASSIGN(const auto name, json::string_field(item, "name", 0, 255));
        GOLDLINK_TRY_ASSIGN(const auto bytes, json::int_field(item, "bytes", 0, INT64_MAX));
        GOLDLINK_TRY_ASSIGN(const auto own, json::optional_int(item, "own_bytes", 0, INT64_MAX));
        GOLDLINK_TRY_ASSIGN(const auto reason, json::string_field(item, "reason", 0, 500));
        const json::value own_bytes = own ? json::value(*own) : json::value(nullptr);
        if (kind != "version") {
            items.push_back(json::object{{"kind", kind},
                                         {"name", name},
                                         {"digest", nullptr},
                                         {"bytes", bytes},
                                         {"own_bytes", own_bytes},
                                         {"reason", reason}});
            continue;
        }
        seen.insert(name);
        items.push_back(version_item(name_of(name), name, bytes, own_bytes,
                                     std::string(names.contains(name) ? kSuperseded : kUnknown)));
        // Several versions of the same content: it is given back once.
        const auto [first, last] = names.equal_range(name);
        for (auto other = first; other != last; ++other)
            if (other != first)
                items.push_back(version_item(other->second, name, 0, 0, std::string(kSuperseded)));
    }
    GOLDLINK_TRY_ASSIGN(const auto stays, json::array_field(report, "kept", kMaxListed));
    for (const json::value& value : stays) {
        if (!value.is_object()) return failure(ErrorKind::invalid, "an item is no object");
        const json::object& item = value.get_object();
        GOLDLINK_TRY_ASSIGN(const auto kind, json::string_field(item, "kind", 1, 32));
        GOLDLINK_TRY_ASSIGN(const auto name, json::string_field(item, "name", 0, 255));
        GOLDLINK_TRY_ASSIGN(const auto why, json::string_field(item, "why", 0, 4000));
        kept.push_back(json::object{
            {"kind", kind}, {"name", kind == "version" ? name_of(name) : name}, {"why", why}});
    }
    for (const auto& [digest, name] : names)
        if (!seen.contains(digest))
            items.push_back(version_item(
                name, digest, 0, 0,
                fmt::format("{}; its data stays while another version or a link has it",
                            kSuperseded)));
    GOLDLINK_TRY_ASSIGN(const auto bytes, json::int_field(report, "bytes", 0, INT64_MAX));
    return json::object{{"dry_run", dry_run},
                        {"items", std::move(items)},
                        {"kept", std::move(kept)},
                        {"bytes", bytes}};
}

}  // namespace goldlink::manager
