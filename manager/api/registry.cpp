// The registry and the target: whether they belong together, what adopting this registry would
// remove at the target, and the adoption.
#include "manager/db/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "manager/api/input.hpp"
#include "manager/db/history.hpp"
#include "manager/db/links.hpp"
#include "manager/registry_problem.hpp"
#include "manager/target_links.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::chrono::seconds kTargetTimeout{10};
constexpr std::size_t kMaxSessions = 100'000;

struct Known {
    db::RegistryIdentity identity;
    std::int64_t revision = 0;
    std::set<std::string> links;  // in the registry, or deleted there and on their way out
};

Result<Known> read_known(db::Connection& c) {
    Known known;
    GOLDLINK_TRY_ASSIGN(known.identity, db::registry_identity(c));
    GOLDLINK_TRY_ASSIGN(known.revision, db::registry_revision(c));
    GOLDLINK_TRY_ASSIGN(const auto disks, db::desired_disks(c));
    for (const db::DesiredDisk& disk : disks) known.links.insert(disk.link_id);
    GOLDLINK_TRY_ASSIGN(const auto removals, db::link_removals(c));
    for (const db::LinkRemoval& removal : removals) known.links.insert(removal.link_id);
    return known;
}

json::value member_or_null(const json::object& o, std::string_view name) {
    const json::value* found = o.if_contains(name);
    return found == nullptr ? json::value(nullptr) : *found;
}

// Most telling first: a link of which any disk keeps its changes keeps them.
std::string policy_of(const json::object& link) {
    std::string policy = "discard";
    const auto disks = json::array_field(link, "disks", 64);
    if (!disks) return policy;
    for (const json::value& disk : *disks) {
        if (!disk.is_object()) continue;
        const auto each = json::optional_string(disk.as_object(), "policy", 16);
        if (each && *each && **each != "discard") policy = **each;
    }
    return policy;
}

json::object unknown_link(const std::string& id, const json::object& link) {
    const auto sessions = json::array_field(link, "sessions", kMaxSessions);
    json::object shown{{"id", id},
                       {"iqn", member_or_null(link, "iqn")},
                       {"alias", member_or_null(link, "alias")},
                       {"policy", policy_of(link)},
                       {"in_use", sessions && !sessions->empty()},
                       {"used_bytes", nullptr}};
    if (const auto overlay = json::object_field(link, "overlay"); overlay)
        shown["used_bytes"] = member_or_null(*overlay, "used_bytes");
    return shown;
}

struct Comparison {
    Known known;
    json::array unknown;  // links of the target that this registry does not have
};

Maybe<Comparison> compare(Call& call) {
    Comparison found;
    GOLDLINK_TRY_ASSIGN(found.known, call.services.pool.run(read_known));
    const auto held = target_links(call.services.target, kTargetTimeout);
    if (!held) return refuse_peer(call.services.target, held.error());
    for (const auto& [id, link] : *held)
        if (!found.known.links.contains(id)) found.unknown.push_back(unknown_link(id, link));
    return found;
}

json::object view(const Comparison& found) {
    const db::RegistryIdentity& identity = found.known.identity;
    const std::string problem = registry_problem(identity.match);
    return {
        {"id", identity.id},
        {"revision", found.known.revision},
        {"target_id", identity.target_id ? json::value(*identity.target_id) : json::value(nullptr)},
        {"match", identity.match},
        {"problem", problem.empty() ? json::value(nullptr) : json::value(problem)},
        {"adopting", identity.adopt_requested},
        {"unknown_links", found.unknown}};
}

Answer show(Call& call) {
    GOLDLINK_TRY_CALL(const Comparison found, compare(call));
    return json_response(200, view(found));
}

Answer adopt(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"dry_run", "confirm_removals"}, true));
    const auto dry_run = json::optional_bool(body, "dry_run");
    if (!dry_run) return refuse_field("dry_run", dry_run.error().message);
    const auto confirmed = json::optional_int(body, "confirm_removals", 0, 1'000'000);
    if (!confirmed) return refuse_field("confirm_removals", confirmed.error().message);
    GOLDLINK_TRY_CALL(Comparison found, compare(call));
    if (dry_run->value_or(false)) return json_response(200, view(found));
    const auto count = static_cast<std::int64_t>(found.unknown.size());
    if (count > 0 && confirmed->value_or(0) != count) {
        const auto running = std::ranges::count_if(found.unknown, [](const json::value& link) {
            return link.as_object().at("in_use").as_bool();
        });
        return refuse(409, "mass-removal", "Links would be removed at the target",
                      fmt::format("the target has {} links that this registry does not have, {} of "
                                  "them in use; adopting it removes them, and puts the disks that "
                                  "keep their changes into the trash. If that is meant, repeat it "
                                  "with confirm_removals {}",
                                  count, running, count));
    }
    GOLDLINK_TRY_CALL(
        const bool asked, call.services.pool.transact([&](db::Connection& c) -> Maybe<bool> {
            GOLDLINK_TRY(db::request_adoption(c, true));
            GOLDLINK_TRY(
                db::add_event(c, {{},
                                  "registry_adopted",
                                  {},
                                  {},
                                  {},
                                  json::serialize(json::object{{"removed_links", count}})}));
            return true;
        }));
    found.known.identity.adopt_requested = asked;
    return json_response(202, view(found));
}

}  // namespace

void add_registry_routes(Table& table) {
    table.push_back({"GET", "/registry", kRead, {}, show});
    table.push_back({"POST", "/registry/adopt", kAdmin, {}, adopt});
}

}  // namespace goldlink::manager::api
