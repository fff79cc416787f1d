// Versions made of links: a super disk's edits are committed, any disk is saved as it is, a damaged
// one as far as it can be read. And what a link's disk has that is not as it was written.
#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/comparison.hpp"
#include "manager/api/link_disks.hpp"
#include "manager/api/links.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

// What both calls say of the version they want.
struct WantedVersion {
    std::optional<std::int64_t> lun;
    std::string note;
    std::optional<std::string> channel;
};

Maybe<WantedVersion> wanted_version(const json::object& body) {
    WantedVersion wanted;
    GOLDLINK_TRY_CALL(wanted.lun, lun_field(body));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    wanted.note = note.value_or("");
    GOLDLINK_TRY_CALL(wanted.channel, channel_field(body));
    return wanted;
}

// A task that makes the disk the next version of the image.
Maybe<http::Response> start(db::Connection& c, const Call& call, const std::string& kind,
                            const db::Link& link, const db::LinkDisk& disk, const db::Image& image,
                            const WantedVersion& wanted) {
    GOLDLINK_TRY_ASSIGN(const auto version, db::insert_version(c, image.id, wanted.note));
    GOLDLINK_TRY(db::set_origin(c, version.id, link.id, disk.lun,
                                link.client ? *link.client : "lease " + link.id, kind != "commit"));
    db::NewTask task;
    task.id = random_uuid();
    task.kind = kind;
    task.subject = fmt::format("{}@{}", image.name, version.number);
    task.phase = "start";
    task.version_id = version.id;
    task.link_id = link.id;
    task.lun = disk.lun;
    task.channel = wanted.channel;
    task.created_by = call.token.id;
    GOLDLINK_TRY(db::insert_task(c, task));
    GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
    return json_response(202, view(*made));
}

Maybe<db::Image> image_of(db::Connection& c, const db::LinkDisk& disk) {
    GOLDLINK_TRY_ASSIGN(auto image, db::find_image(c, disk.image));
    if (!image) return refuse_missing(fmt::format("image {}", disk.image));
    return std::move(*image);
}

// Another version was made from the one the disk is on: whose, and what both changed.
Maybe<void> refuse_conflict(Call& call, const db::Link& link, const db::LinkDisk& disk,
                            const std::vector<db::Version>& between) {
    std::vector<std::string> names, blocked_by;
    json::array versions;
    const db::Version* newest = nullptr;  // that can be looked into
    for (const db::Version& version : between) {
        names.push_back(fmt::format("{}@{}", version.image, version.number));
        std::string who = names.back();
        if (!version.made_by.empty()) who += " of " + version.made_by;
        if (!version.note.empty()) who += fmt::format(" ({})", version.note);
        blocked_by.push_back(std::move(who));
        versions.push_back(view(version));
        if (newest == nullptr && version.state == "ready") newest = &version;
    }
    Refusal refusal(409, "version-conflict", "Another version was made from the same one", "");
    std::string both = "it is still being made, so what both changed is not known yet";
    refusal.members = "\"versions\":" + json::serialize(versions);
    if (newest != nullptr) {
        const auto answer = call.services.target.call(
            "POST", "/links/" + link.id + "/compare",
            json::serialize(json::object{{"lun", disk.lun}, {"version", *newest->digest}}),
            std::chrono::seconds(60));
        if (!answer) return refuse_peer(call.services.target, answer.error());
        GOLDLINK_TRY_CALL(const json::object overlap, parse_comparison(*answer));
        refusal.members += ",\"overlap\":" + json::serialize(overlap);
        both = overlap_in_words(overlap, fmt::format("{}@{}", newest->image, newest->number));
    }
    refusal.detail = fmt::format(
        "{} {} made from {}@{}, which this disk is on; {}. Commit it with \"sibling\" all the "
        "same, "
        "as a version beside {} with nothing of that inside; or give its edits up (reset), and "
        "start from the newest. Nothing is merged",
        fmt::join(names, ", "), names.size() == 1 ? "was" : "were", disk.image, disk.version, both,
        names.front());
    refusal.blocked_by = std::move(blocked_by);
    return Refused(std::move(refusal));
}

Answer commit(Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"note", "channel", "lun", "sibling"}, true));
    GOLDLINK_TRY_CALL(const WantedVersion wanted, wanted_version(body));
    const auto sibling = json::optional_bool(body, "sibling");
    if (!sibling) return refuse_field("sibling", sibling.error().message);
    // The target is asked with no transaction open.
    db::Link link;
    db::LinkDisk disk;
    std::vector<db::Version> between;
    GOLDLINK_TRY_CALL(
        http::Response response, call.services.pool.transact([&](db::Connection& c) -> Answer {
            GOLDLINK_TRY_CALL(link, needed_link(c, call));
            GOLDLINK_TRY_CALL(disk, disk_to_commit(link, wanted.lun));
            GOLDLINK_TRY_CALL(const db::Image image, image_of(c, disk));
            if (!sibling->value_or(false)) {
                GOLDLINK_TRY(db::lock_image(c, image.id));
                GOLDLINK_TRY_ASSIGN(const auto base, db::find_version(c, image.id, disk.version));
                if (base) {
                    GOLDLINK_TRY_ASSIGN(between, db::descendants_of(c, base->id, link.id));
                }
            }
            if (!between.empty()) return http::Response();
            return start(c, call, "commit", link, disk, image, wanted);
        }));
    if (between.empty()) return response;
    return Refused(refuse_conflict(call, link, disk, between).error());
}

// `kind`: save or salvage.
Answer save_as(Call& call, const char* kind) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"image", "note", "channel", "lun"}, true));
    GOLDLINK_TRY_CALL(const WantedVersion wanted, wanted_version(body));
    std::optional<std::string> name;
    if (body.contains("image")) {
        GOLDLINK_TRY_CALL(name, name_field(body, "image"));
    }
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Link link, needed_link(c, call));
        GOLDLINK_TRY_CALL(const db::LinkDisk disk, disk_to_save(link, wanted.lun));
        if (!name) {
            GOLDLINK_TRY_CALL(const db::Image image, image_of(c, disk));
            return start(c, call, kind, link, disk, image, wanted);
        }
        GOLDLINK_TRY_ASSIGN(const auto image, db::insert_image(c, *name, ""));
        if (!image) {
            Refusal refusal(409, "name-taken", "The name is taken",
                            fmt::format("there is an image {} already; choose another name, or "
                                        "leave it out: then the disk becomes the next version of "
                                        "{}, the image it was made from",
                                        *name, disk.image));
            refusal.field = "image";
            return Refused(std::move(refusal));
        }
        return start(c, call, kind, link, disk, *image, wanted);
    });
}

Answer save(Call& call) { return save_as(call, "save"); }
Answer salvage(Call& call) { return save_as(call, "salvage"); }

Answer verify(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"lun"}, true));
    GOLDLINK_TRY_CALL(const auto lun, lun_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Link link, needed_link(c, call));
        GOLDLINK_TRY_CALL(const db::LinkDisk disk, disk_to_save(link, lun));
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "check";
        task.subject =
            fmt::format("{} lun {}", link.client ? *link.client : "lease " + link.id, disk.lun);
        task.phase = "start";
        task.link_id = link.id;
        task.lun = disk.lun;
        task.created_by = call.token.id;
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

}  // namespace

void add_link_version_routes(Table& table) {
    table.push_back({"POST", "/links/{link_id}/commit", kWrite, {}, commit});
    table.push_back({"POST", "/links/{link_id}/save", kWrite, {}, save});
    table.push_back({"POST", "/links/{link_id}/salvage", kWrite, {}, salvage});
    table.push_back({"POST", "/links/{link_id}/verify", kWrite, {}, verify});
}

}  // namespace goldlink::manager::api
