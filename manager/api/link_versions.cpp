// Versions made of links: a super disk's edits are committed, any disk is saved as it is.
#include <fmt/format.h>

#include "common/hex.hpp"
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
    const auto channel = json::optional_string(body, "channel", 63);
    if (!channel) return refuse_field("channel", channel.error().message);
    if (*channel && !is_channel_name(**channel))
        return refuse_field("channel", fmt::format("\"{}\" is no channel name", **channel));
    wanted.channel = *channel;
    return wanted;
}

// A task that makes the disk the next version of the image.
Maybe<http::Response> start(db::Connection& c, const Call& call, const std::string& kind,
                            const db::Link& link, const db::LinkDisk& disk, const db::Image& image,
                            const WantedVersion& wanted) {
    GOLDLINK_TRY_ASSIGN(const auto version, db::insert_version(c, image.id, wanted.note));
    GOLDLINK_TRY(db::set_origin(c, version.id, link.id, disk.lun,
                                link.client ? *link.client : "lease " + link.id, kind == "save"));
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

Answer commit(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"note", "channel", "lun"}, true));
    GOLDLINK_TRY_CALL(const WantedVersion wanted, wanted_version(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Link link, needed_link(c, call));
        GOLDLINK_TRY_CALL(const db::LinkDisk disk, disk_to_commit(link, wanted.lun));
        GOLDLINK_TRY_CALL(const db::Image image, image_of(c, disk));
        return start(c, call, "commit", link, disk, image, wanted);
    });
}

Answer save(Call& call) {
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
            return start(c, call, "save", link, disk, image, wanted);
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
        return start(c, call, "save", link, disk, *image, wanted);
    });
}

}  // namespace

void add_link_version_routes(Table& table) {
    table.push_back({"POST", "/links/{link_id}/commit", kWrite, {}, commit});
    table.push_back({"POST", "/links/{link_id}/save", kWrite, {}, save});
}

}  // namespace goldlink::manager::api
