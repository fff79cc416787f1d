// Rebase: a disk that keeps what its client writes goes on over another version of its image. The
// report says what each choice would do; the choice becomes a task of the target.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/hex.hpp"
#include "manager/api/comparison.hpp"
#include "manager/api/link_disks.hpp"
#include "manager/api/links.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::string_view kFresh = "fresh", kWritten = "written";
constexpr std::int64_t kBlockBytes = 4096;
constexpr std::chrono::seconds kCompareTimeout{60};

// A disk, the version it is on and the one it would be on.
struct Rebase {
    db::Link link;
    db::LinkDisk disk;
    db::Version from, to;
    std::optional<std::string> channel;  // that the disk would follow

    std::string owner() const { return link.client ? *link.client : "the lease"; }
    std::string from_name() const { return fmt::format("{}@{}", disk.image, from.number); }
    std::string to_name() const { return fmt::format("{}@{}", disk.image, to.number); }
    bool moves() const { return from.id != to.id; }
};

Maybe<db::LinkDisk> disk_to_rebase(const db::Link& link, std::optional<std::int64_t> lun) {
    std::vector<db::LinkDisk> candidates;
    if (lun) {
        GOLDLINK_TRY_CALL(candidates.emplace_back(), needed_disk(link, *lun));
    } else {
        candidates = link.disks;
    }
    std::erase_if(candidates, [](const db::LinkDisk& disk) {
        return disk.kind == "iso" || disk.policy == "discard";
    });
    if (candidates.empty())
        return refuse(409, "discard-disk", "The disk takes new versions by itself",
                      "only a disk of policy keep or super stays on the version it was started "
                      "from. One of policy discard begins anew at every boot: when it follows a "
                      "channel, its next boot takes the channel's version by itself; to pin it to "
                      "another one, make its link anew");
    if (candidates.size() == 1) return candidates.front();
    std::vector<std::string> names;
    for (const db::LinkDisk& disk : candidates)
        names.push_back(fmt::format("lun {} {}", disk.lun, disk.image));
    return refuse(409, "several-disks", "The link has several disks",
                  fmt::format("say by lun which one to rebase: {}", fmt::join(names, ", ")));
}

Maybe<ImageReference> reference_of(const db::LinkDisk& disk, const std::string& onto) {
    if (onto.empty()) {
        if (disk.channel) return ImageReference{disk.image, disk.channel, {}};
        return refuse_field(
            "onto", fmt::format("lun {} is pinned to {}@{} and follows no channel; say by "
                                "onto which version it is to go on over: {}@VERSION pins "
                                "it there, {}:production makes it follow that channel",
                                disk.lun, disk.image, disk.version, disk.image, disk.image));
    }
    auto reference = parse_image_reference(onto);
    if (reference) return reference;
    Refusal refusal = std::move(reference).error();
    refusal.field = "onto";
    return Refused(std::move(refusal));
}

Maybe<Rebase> read_rebase(db::Connection& c, const Call& call, std::optional<std::int64_t> lun,
                          const std::string& onto) {
    Rebase rebase;
    GOLDLINK_TRY_CALL(rebase.link, needed_link(c, call));
    GOLDLINK_TRY_CALL(rebase.disk, disk_to_rebase(rebase.link, lun));
    GOLDLINK_TRY_CALL(const ImageReference reference, reference_of(rebase.disk, onto));
    auto target = resolve(c, reference);
    if (!target) {
        Refusal refusal = std::move(target).error();
        refusal.field = "onto";
        return Refused(std::move(refusal));
    }
    if (target->image != rebase.disk.image) {
        Refusal refusal(
            409, "other-image", "The version is of another image",
            fmt::format("lun {} is a disk of {}; {} is another image, of which nothing "
                        "of it could be kept. Make a link with {} instead",
                        rebase.disk.lun, rebase.disk.image, target->image, target->image));
        refusal.field = "onto";
        return Refused(std::move(refusal));
    }
    rebase.channel = target->channel;
    GOLDLINK_TRY_ASSIGN(auto from, db::find_version(c, target->image_id, rebase.disk.version));
    GOLDLINK_TRY_ASSIGN(auto to, db::find_version_by_id(c, target->version_id));
    if (!from || !from->digest || !to || !to->digest)
        return refuse_missing(fmt::format("image {}; it was removed meanwhile", rebase.disk.image));
    rebase.from = std::move(*from);
    rebase.to = std::move(*to);
    return rebase;
}

// What the target says: who uses the link, and what both changed.
struct Findings {
    std::vector<std::string> users;
    json::object overlap;
    std::int64_t number(std::string_view name) const { return overlap.at(name).as_int64(); }
};

Maybe<Findings> find_out(const Call& call, const Rebase& rebase) {
    const Peer& target = call.services.target;
    Findings found;
    const auto link = target.call("GET", "/links/" + rebase.link.id);
    if (!link) return refuse_peer(target, link.error());
    const auto compared = target.call(
        "POST", "/links/" + rebase.link.id + "/compare",
        json::serialize(json::object{{"lun", rebase.disk.lun}, {"version", *rebase.to.digest}}),
        kCompareTimeout);
    if (!compared) return refuse_peer(target, compared.error());
    GOLDLINK_TRY_CALL(found.overlap, parse_comparison(*compared));
    const auto parse = [&]() -> Result<> {
        GOLDLINK_TRY_ASSIGN(const json::object shown, json::parse_object(*link));
        GOLDLINK_TRY_ASSIGN(const json::array sessions,
                            json::array_field(shown, "sessions", 100'000));
        for (const json::value& item : sessions) {
            if (!item.is_object()) return failure(ErrorKind::invalid, "a session is no object");
            GOLDLINK_TRY_ASSIGN(const auto name,
                                json::string_field(item.as_object(), "initiator_name", 0, 256));
            GOLDLINK_TRY_ASSIGN(const auto address,
                                json::string_field(item.as_object(), "address", 0, 100));
            found.users.push_back(fmt::format("{} at {}", name, address));
        }
        return {};
    };
    if (auto parsed = parse(); !parsed)
        return refuse(502, "target-failed", "The target's view of the link cannot be read",
                      parsed.error().message);
    return found;
}

// Why the choice cannot be made now; nullopt when it can.
std::optional<Refusal> obstacle(const Rebase& rebase, const Findings& found, std::string_view take,
                                bool force) {
    if (!rebase.moves()) {
        // The version stays, so only what the disk follows can change.
        if (take == kWritten && rebase.channel != rebase.disk.channel) return std::nullopt;
        return Refusal(409, "up-to-date", "The disk is on that version already",
                       fmt::format("lun {} of {} is on {} already; 'link reset' drops what was "
                                   "written to it",
                                   rebase.disk.lun, rebase.owner(), rebase.to_name()));
    }
    if (!found.users.empty()) {
        Refusal refusal(409, "link-running", "The link is in use",
                        fmt::format("{} is running on it ({}); shut it down, then rebase",
                                    rebase.owner(), fmt::join(found.users, ", ")));
        refusal.blocked_by = found.users;
        return refusal;
    }
    if (take == kFresh) return std::nullopt;
    if (rebase.to.size_bytes < rebase.from.size_bytes)
        return Refusal(409, "smaller-version", "The version is a smaller disk",
                       fmt::format("{} has {} bytes, the disk has {}: what lies past its end could "
                                   "not be kept. Start from it with \"fresh\", or choose a version "
                                   "that is as large",
                                   rebase.to_name(), rebase.to.size_bytes, rebase.from.size_bytes));
    if (rebase.to.size_bytes != rebase.from.size_bytes && rebase.from.size_bytes % kBlockBytes != 0)
        return Refusal(409, "smaller-version", "The disk ends within a block",
                       fmt::format("the disk's {} bytes are no whole blocks of {}, so it cannot go "
                                   "on over one of another size; start from {} with \"fresh\"",
                                   rebase.from.size_bytes, kBlockBytes, rebase.to_name()));
    const bool blocks = found.number("both_bytes") > 0;
    if (force || (!blocks && found.overlap.at("partitions").as_array().empty()))
        return std::nullopt;
    const std::string both =
        blocks ? overlap_in_words(found.overlap, rebase.to_name())
               : fmt::format("both this disk ({} bytes) and {} changed {}, if in different places",
                             found.number("mine_bytes"), rebase.to_name(),
                             partitions_in_words(found.overlap));
    Refusal refusal(
        409, "overlap", blocks ? "Both changed the same blocks" : "Both changed the same partition",
        fmt::format("{}. A disk cannot merge files: with \"written\" the client's blocks would lie "
                    "in the middle of the new version's files, which damages the file system. "
                    "Start from {} with \"fresh\" and copy over what is needed ('link save "
                    "--as' keeps it as an image first); or stay on {}; \"force\" does it all the "
                    "same",
                    both, rebase.to_name(), rebase.from_name()));
    refusal.members = "\"overlap\":" + json::serialize(found.overlap);
    return refusal;
}

json::object choice(const Rebase& rebase, const Findings& found, std::string_view take) {
    const auto blocked = obstacle(rebase, found, take, false);
    std::string means;
    if (take == kFresh)
        means = fmt::format("the disk starts from {}; everything {} wrote to it is dropped",
                            rebase.to_name(), rebase.owner());
    else
        means = fmt::format(
            "what {} wrote stays and lies over {}. Safe only where these two changed different "
            "partitions: a disk knows blocks, not files, so two sets of changes to one file "
            "system make a damaged one, even in different places",
            rebase.owner(), rebase.to_name());
    return {{"take", take},
            {"possible", !blocked},
            {"why_not", blocked ? json::value(blocked->detail) : json::value(nullptr)},
            {"means", std::move(means)}};
}

json::object report_of(const Rebase& rebase, const Findings& found) {
    json::array users, choices;
    for (const std::string& user : found.users) users.emplace_back(user);
    for (const std::string_view take : {kFresh, kWritten})
        choices.push_back(choice(rebase, found, take));
    json::object report{{"link_id", rebase.link.id},
                        {"lun", rebase.disk.lun},
                        {"image", rebase.disk.image},
                        {"policy", rebase.disk.policy},
                        {"from", rebase.from.number},
                        {"to", rebase.to.number},
                        {"from_bytes", rebase.from.size_bytes},
                        {"to_bytes", rebase.to.size_bytes},
                        {"to_note", rebase.to.note},
                        {"up_to_date", !rebase.moves()},
                        {"used_by", std::move(users)},
                        {"overlap", found.overlap},
                        {"choices", std::move(choices)}};
    report["client"] = nullptr;
    if (rebase.link.client) report["client"] = *rebase.link.client;
    report["channel"] = nullptr;
    if (rebase.channel) report["channel"] = *rebase.channel;
    return report;
}

Answer report(Call& call) {
    GOLDLINK_TRY_CALL(const auto lun, number_query(call, "lun", kMaxLun));
    const std::string onto = call.request.query_value("onto");
    GOLDLINK_TRY_CALL(const Rebase rebase, call.services.pool.run([&](db::Connection& c) {
        return read_rebase(c, call, lun, onto);
    }));
    GOLDLINK_TRY_CALL(const Findings found, find_out(call, rebase));
    return json_response(200, report_of(rebase, found));
}

// Two tasks on one link would wait for, or refuse, each other at the target.
Maybe<void> check_no_task(db::Connection& c, const Rebase& rebase) {
    GOLDLINK_TRY_ASSIGN(const auto tasks, db::active_tasks(c));
    for (const db::Task& task : tasks)
        if (task.link_id == rebase.link.id)
            return refuse_blocked("link-busy", "Another task works on the link",
                                  fmt::format("{} of {} is running; wait for its end, or cancel it "
                                              "with 'goldlink task cancel {}'",
                                              task.kind, task.subject, task.id),
                                  {"task " + task.id});
    return {};
}

Answer start(db::Connection& c, const Call& call, const Rebase& rebase, const std::string& take,
             bool force) {
    if (auto idle = check_no_task(c, rebase); !idle) return Refused(std::move(idle).error());
    db::NewTask task;
    task.id = random_uuid();
    task.kind = "rebase";
    task.subject = fmt::format("{}: {} to {}", rebase.link.client.value_or("lease"),
                               rebase.from_name(), rebase.to_name());
    task.phase = "start";
    task.version_id = rebase.to.id;
    task.digest = rebase.to.digest;
    task.link_id = rebase.link.id;
    task.lun = rebase.disk.lun;
    task.channel = rebase.channel;
    task.created_by = call.token.id;
    task.source = json::serialize(json::object{{"from", *rebase.from.digest},
                                               {"from_version", rebase.from_name()},
                                               {"to_version", rebase.to_name()},
                                               {"take", take},
                                               {"force", force}});
    GOLDLINK_TRY(db::insert_task(c, task));
    GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
    return json_response(202, view(*made));
}

Answer rebase(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"lun", "onto", "take", "force"}));
    GOLDLINK_TRY_CALL(const auto lun, lun_field(body));
    const auto onto = json::optional_string(body, "onto", 140);
    if (!onto) return refuse_field("onto", onto.error().message);
    const auto take = json::string_field(body, "take", 1, 16);
    if (!take || (*take != kFresh && *take != kWritten))
        return refuse_field("take",
                            "take is \"fresh\", start from the new version, or "
                            "\"written\", lay what was written over it");
    const auto force = json::optional_bool(body, "force");
    if (!force) return refuse_field("force", force.error().message);
    const auto read = [&](db::Connection& c) {
        return read_rebase(c, call, lun, onto->value_or(""));
    };
    // The target is asked with no transaction open, and looks again itself when the task runs.
    GOLDLINK_TRY_CALL(const Rebase seen, call.services.pool.run(read));
    GOLDLINK_TRY_CALL(const Findings found, find_out(call, seen));
    if (auto blocked = obstacle(seen, found, *take, force->value_or(false)))
        return Refused(std::move(*blocked));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const Rebase now, read(c));
        if (now.from.id != seen.from.id || now.to.id != seen.to.id)
            return refuse(409, "changed-meanwhile", "The versions have changed",
                          "the disk's version, or where the channel points, changed a moment ago; "
                          "look at the report again");
        return start(c, call, now, *take, force->value_or(false));
    });
}

}  // namespace

void add_link_rebase_routes(Table& table) {
    table.push_back({"GET", "/links/{link_id}/rebase", kRead, {"lun", "onto"}, report});
    table.push_back({"POST", "/links/{link_id}/rebase", kWrite, {}, rebase});
}

}  // namespace goldlink::manager::api
