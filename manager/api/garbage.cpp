// POST /gc: what the target holds and nobody wants goes, or, with dry_run, is told.
#include "manager/garbage.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/registry.hpp"
#include "manager/registry_problem.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::int64_t kMaxKept = 10'000;
constexpr std::chrono::seconds kLookTimeout{300};  // large versions are gone through chunk by chunk

using Keep = std::optional<std::int64_t>;

// Those that the target could drop: a client may still run on one that no link names any more.
Result<std::vector<db::UnusedVersion>> superseded(db::Connection& c, Keep keep,
                                                  const GarbageCandidates& candidates) {
    std::vector<db::UnusedVersion> versions;
    if (!keep) return versions;
    GOLDLINK_TRY_ASSIGN(versions, db::superseded_versions(c, *keep));
    std::erase_if(versions, [&](const db::UnusedVersion& version) {
        return !candidates.has(version.digest);
    });
    return versions;
}

Answer look(Call& call, const GarbageCandidates& candidates, Keep keep) {
    json::array old;
    GOLDLINK_TRY_ASSIGN(
        auto body, call.services.pool.run([&](db::Connection& c) -> Result<json::object> {
            GOLDLINK_TRY_ASSIGN(const auto versions, superseded(c, keep, candidates));
            std::vector<std::int64_t> ids;
            for (const db::UnusedVersion& version : versions) ids.push_back(version.id);
            GOLDLINK_TRY_ASSIGN(const auto needs, db::registry_needs(c, ids));
            old = superseded_json(versions);
            return unwanted(candidates, needs);
        }));
    body["dry_run"] = true;
    const auto answer =
        call.services.target.call("POST", "/gc", json::serialize(body), kLookTimeout);
    if (!answer) return refuse_peer(call.services.target, answer.error());
    GOLDLINK_TRY_ASSIGN(const auto report, json::parse_object(*answer));
    GOLDLINK_TRY_ASSIGN(const auto shown, garbage_view(report, old, true));
    return json_response(200, shown);
}

// Old versions leave the registry at once; the task gives back what they and all else take.
Answer begin(Call& call, const GarbageCandidates& candidates, Keep keep) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto versions, superseded(c, keep, candidates));
        std::vector<db::UnusedVersion> dropped;
        for (const db::UnusedVersion& version : versions) {
            GOLDLINK_TRY_ASSIGN(const bool gone, db::drop_superseded(c, version.id));
            if (gone) dropped.push_back(version);
        }
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "gc";
        task.subject = "image store";
        task.phase = "start";
        task.created_by = call.token.id;
        task.source = json::serialize(json::object{{"superseded", superseded_json(dropped)}});
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

Answer collect(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"dry_run", "keep_versions"}, true));
    const auto dry_run = json::optional_bool(body, "dry_run");
    if (!dry_run) return refuse_field("dry_run", dry_run.error().message);
    const auto keep = json::optional_int(body, "keep_versions", 1, kMaxKept);
    if (!keep)
        return refuse_field("keep_versions",
                            fmt::format("say how many of the newest versions of each image stay, 1 "
                                        "to {}; leave it out to keep all",
                                        kMaxKept));
    // What another registry names is wanted too.
    GOLDLINK_TRY_ASSIGN(const auto identity, call.services.pool.run(db::registry_identity));
    if (const std::string why = registry_problem(identity.match); !why.empty())
        return refuse(409, "registry-not-adopted", "The target belongs to another registry", why);
    const auto candidates = garbage_candidates(call.services.target);
    if (!candidates) return refuse_peer(call.services.target, candidates.error());
    return dry_run->value_or(false) ? look(call, *candidates, *keep)
                                    : begin(call, *candidates, *keep);
}

}  // namespace

void add_garbage_routes(Table& table) { table.push_back({"POST", "/gc", kWrite, {}, collect}); }

}  // namespace goldlink::manager::api
