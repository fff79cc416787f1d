// Images made of images: a clone, which costs nothing, and a larger disk.
#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::int64_t kUnitBytes = 4096;  // so that it can be served in blocks of 4 KiB
constexpr std::int64_t kMaxGrownBytes = std::int64_t{2} << 40;  // the target's

// The version that the call is of: field "version", or what channel production points at.
Maybe<db::Version> source_version(db::Connection& c, const Call& call, const json::object& body,
                                  std::string& kind) {
    ImageReference reference{call.param("image"), "production", std::nullopt};
    if (!is_name(reference.image)) return refuse_missing("image of that name");
    const auto number = json::optional_int(body, "version", 1, 1'000'000'000);
    if (!number) return refuse_field("version", number.error().message);
    if (*number) {
        reference.channel.reset();
        reference.version = *number;
    }
    GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, reference.image));
    if (!image) return refuse_missing(fmt::format("image {}", reference.image));
    auto target = resolve(c, reference);
    if (!target) {
        Refusal refusal = std::move(target).error();
        refusal.type = "version-not-ready";
        refusal.title = "The version is not ready";
        refusal.field = "version";
        return Refused(std::move(refusal));
    }
    kind = target->kind;
    GOLDLINK_TRY_ASSIGN(auto version, db::find_version_by_id(c, target->version_id));
    if (!version || !version->digest)
        return refuse_missing(fmt::format("version {}@{}", target->image, target->version));
    return std::move(*version);
}

// Another name for the same data: nothing is copied.
Answer clone(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"name", "version", "note"}));
    GOLDLINK_TRY_CALL(const std::string name, name_field(body, "name"));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        std::string kind;
        GOLDLINK_TRY_CALL(const db::Version source, source_version(c, call, body, kind));
        GOLDLINK_TRY_ASSIGN(const auto image, db::insert_image(c, name, ""));
        if (!image) {
            Refusal refusal(409, "name-taken", "The name is taken",
                            fmt::format("there is an image {} already", name));
            refusal.field = "name";
            return Refused(std::move(refusal));
        }
        GOLDLINK_TRY_ASSIGN(const bool taken, db::take_kind(c, image->id, kind));
        if (!taken) return refuse_missing(fmt::format("image {}", name));
        GOLDLINK_TRY_ASSIGN(const auto version,
                            db::insert_version(c, image->id, note.value_or(source.note)));
        GOLDLINK_TRY(db::set_parent(c, version.id, source.id));
        GOLDLINK_TRY(db::set_version_ready(c, version.id, *source.digest, source.size_bytes,
                                           source.stored_bytes));
        GOLDLINK_TRY(db::set_channel(c, image->id, "production", version.id));
        GOLDLINK_TRY(db::add_event(
            c,
            {{},
             "image_cloned",
             {},
             {},
             {},
             json::serialize(json::object{
                 {"image", name}, {"from", fmt::format("{}@{}", source.image, source.number)}})}));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_image(c, name));
        GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, {image->id}));
        GOLDLINK_TRY_ASSIGN(const auto channels, db::channels_of(c, {image->id}));
        return json_response(201, view(made ? *made : *image, versions, channels));
    });
}

Answer grow(Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"size_bytes", "version", "note", "channel"}));
    const auto size = json::int_field(body, "size_bytes", kUnitBytes, kMaxGrownBytes);
    if (!size) return refuse_field("size_bytes", size.error().message);
    if (*size % kUnitBytes != 0)
        return refuse_field("size_bytes",
                            fmt::format("a disk has whole blocks of {} bytes", kUnitBytes));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    GOLDLINK_TRY_CALL(const auto channel, channel_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        std::string kind;
        GOLDLINK_TRY_CALL(const db::Version source, source_version(c, call, body, kind));
        if (kind == "iso")
            return refuse_field("image",
                                fmt::format("image {} is a disc: it does not grow", source.image));
        if (*size <= source.size_bytes)
            return refuse_field(
                "size_bytes",
                fmt::format("{}@{} has {} bytes already; a disk can become larger, not smaller: "
                            "what lies past its new end would be lost",
                            source.image, source.number, source.size_bytes));
        GOLDLINK_TRY_ASSIGN(const auto version,
                            db::insert_version(c, source.image_id, note.value_or(source.note)));
        GOLDLINK_TRY(db::set_parent(c, version.id, source.id));
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "grow";
        task.subject = fmt::format("{}@{}", version.image, version.number);
        task.phase = "start";
        task.version_id = version.id;
        task.digest = source.digest;
        task.blank_bytes = *size;
        task.channel = channel;
        task.created_by = call.token.id;
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

}  // namespace

void add_image_copy_routes(Table& table) {
    table.push_back({"POST", "/images/{image}/clone", kWrite, {}, clone});
    table.push_back({"POST", "/images/{image}/grow", kWrite, {}, grow});
}

}  // namespace goldlink::manager::api
