// Images, their versions and channels. Uploads are in upload.cpp.
#include "manager/db/images.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/live_versions.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"

namespace goldlink::manager::api {
namespace {

Maybe<json::object> image_view(db::Connection& c, const db::Image& image,
                               const LiveVersions& live) {
    GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, {image.id}));
    GOLDLINK_TRY_ASSIGN(const auto channels, db::channels_of(c, {image.id}));
    return view(image, versions, channels, live);
}

Maybe<db::Image> needed_image(db::Connection& c, const Call& call) {
    const std::string& name = call.param("image");
    GOLDLINK_TRY_ASSIGN(auto image, db::find_image(c, name));
    if (!image) return refuse_missing(fmt::format("image {}", name.substr(0, 64)));
    return std::move(*image);
}

Maybe<db::Version> needed_version(db::Connection& c, const db::Image& image, std::int64_t number) {
    GOLDLINK_TRY_ASSIGN(auto version, db::find_version(c, image.id, number));
    if (!version) return refuse_missing(fmt::format("version {}@{}", image.name, number));
    return std::move(*version);
}

Maybe<void> needs_ready(const db::Version& version) {
    if (version.state == "ready") return {};
    return refuse(409, "version-not-ready", "The version is not ready",
                  version.state == "failed"
                      ? fmt::format("{}@{} could not be imported: {}", version.image,
                                    version.number, version.error.value_or(""))
                      : fmt::format("{}@{} is still being imported; wait for its task",
                                    version.image, version.number));
}

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, false));
    const LiveVersions live = live_versions(call.services);
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(auto images, db::list_images(c, page.cursor, page.limit + 1));
        std::vector<std::int64_t> ids;
        for (const db::Image& image : images) ids.push_back(image.id);
        GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, ids));
        GOLDLINK_TRY_ASSIGN(const auto channels, db::channels_of(c, ids));
        return page_response(
            std::move(images), page,
            [&](const db::Image& image) { return view(image, versions, channels, live); },
            [](const db::Image& image) { return image.name; });
    });
}

Answer create(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"name", "note"}));
    GOLDLINK_TRY_CALL(const std::string name, name_field(body, "name"));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto image, db::insert_image(c, name, note.value_or("")));
        if (!image)
            return refuse(409, "name-taken", "The name is taken",
                          fmt::format("there is an image {} already", name));
        return json_response(201, view(*image, {}, {}));
    });
}

Answer get(Call& call) {
    const LiveVersions live = live_versions(call.services);
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_CALL(const json::object shown, image_view(c, image, live));
        return json_response(200, shown);
    });
}

Answer remove(Call& call) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_ASSIGN(const auto users, db::users_of_image(c, image.id));
        if (!users.empty())
            return refuse_blocked(
                "image-in-use", "The image is in use",
                fmt::format(
                    "image {} is used by {}; remove these links, change these groups or wait "
                    "for these tasks first",
                    image.name, fmt::join(users, ", ")),
                users);
        GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, {image.id}));
        GOLDLINK_TRY(db::delete_image(c, image.id));
        for (const db::Version& version : versions)
            if (version.digest) GOLDLINK_TRY(db::queue_version_deletion(c, *version.digest));
        GOLDLINK_TRY(db::add_event(c, {{},
                                       "image_deleted",
                                       {},
                                       {},
                                       {},
                                       json::serialize(json::object{{"image", image.name}})}));
        return no_content();
    });
}

Answer list_versions(Call& call) {
    const LiveVersions live = live_versions(call.services);
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_ASSIGN(const auto versions, db::versions_of(c, {image.id}));
        json::array items;
        for (const db::Version& version : versions) {
            const auto found = live.find(version.digest.value_or(""));
            items.push_back(view(version, found == live.end() ? nullptr : &found->second));
        }
        return json_response(200,
                             json::object{{"items", std::move(items)}, {"next_cursor", nullptr}});
    });
}

Answer remove_version(Call& call) {
    GOLDLINK_TRY_CALL(const std::int64_t number, version_param(call));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_CALL(const db::Version version, needed_version(c, image, number));
        GOLDLINK_TRY_ASSIGN(const auto users, db::users_of_version(c, version.id));
        if (!users.empty())
            return refuse_blocked(
                "version-in-use", "The version is in use",
                fmt::format("{}@{} is used by {}; move these channels to another version, remove "
                            "these links or wait for these tasks first",
                            image.name, number, fmt::join(users, ", ")),
                users);
        GOLDLINK_TRY(db::delete_version(c, version.id));
        if (version.digest) GOLDLINK_TRY(db::queue_version_deletion(c, *version.digest));
        return no_content();
    });
}

// A task that reads the version: verify, prewarm.
Answer queue_reading(Call& call, const std::string& kind) {
    GOLDLINK_TRY_CALL(const std::int64_t number, version_param(call));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_CALL(const db::Version version, needed_version(c, image, number));
        if (auto ready = needs_ready(version); !ready) return Refused(std::move(ready).error());
        db::NewTask task;
        task.id = random_uuid();
        task.kind = kind;
        task.subject = fmt::format("{}@{}", image.name, number);
        task.phase = "start";
        task.total_bytes = version.size_bytes;
        task.version_id = version.id;
        task.digest = version.digest;
        task.created_by = call.token.id;
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

Maybe<std::string> channel_param(const Call& call) {
    const std::string& channel = call.param("channel");
    if (!is_channel_name(channel))
        return refuse_field(
            "channel",
            fmt::format("\"{}\" is no channel name: lower-case letters, digits, '.', '_' and "
                        "'-', starting with a letter, at most 63",
                        channel.substr(0, 64)));
    return channel;
}

Answer set_channel(Call& call) {
    GOLDLINK_TRY_CALL(const std::string channel, channel_param(call));
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"version"}));
    const auto number = json::int_field(body, "version", 1, 1'000'000'000);
    if (!number) return refuse_field("version", number.error().message);
    const LiveVersions live = live_versions(call.services);
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_CALL(const db::Version version, needed_version(c, image, *number));
        if (auto ready = needs_ready(version); !ready) return Refused(std::move(ready).error());
        GOLDLINK_TRY(db::set_channel(c, image.id, channel, version.id));
        GOLDLINK_TRY(db::add_event(
            c, {{},
                "channel_moved",
                {},
                {},
                {},
                json::serialize(json::object{
                    {"image", image.name}, {"channel", channel}, {"version", *number}})}));
        GOLDLINK_TRY_CALL(const json::object shown, image_view(c, image, live));
        return json_response(200, shown);
    });
}

Answer set_pin(Call& call, bool pinned) {
    GOLDLINK_TRY_CALL(const std::string channel, channel_param(call));
    GOLDLINK_TRY_CALL([[maybe_unused]] const auto nothing, body_object(call, {}, true));
    const LiveVersions live = live_versions(call.services);
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_ASSIGN(const bool found, db::set_pinned(c, image.id, channel, pinned));
        if (!found) return refuse_missing(fmt::format("channel {}:{}", image.name, channel));
        if (!pinned) return no_content();
        GOLDLINK_TRY_CALL(const json::object shown, image_view(c, image, live));
        return json_response(200, shown);
    });
}

Answer remove_channel(Call& call) {
    GOLDLINK_TRY_CALL(const std::string channel, channel_param(call));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Image image, needed_image(c, call));
        GOLDLINK_TRY_ASSIGN(const auto followers, db::followers_of_channel(c, image.id, channel));
        if (!followers.empty())
            return refuse_blocked(
                "channel-in-use", "The channel is followed",
                fmt::format(
                    "{}:{} is followed by {}; remove these links or change these groups first",
                    image.name, channel, fmt::join(followers, ", ")),
                followers);
        GOLDLINK_TRY_ASSIGN(const bool deleted, db::delete_channel(c, image.id, channel));
        if (!deleted) return refuse_missing(fmt::format("channel {}:{}", image.name, channel));
        return no_content();
    });
}

}  // namespace

void add_image_routes(Table& table) {
    constexpr Roles kReadCi = kRead | kCi;
    table.push_back({"GET", "/images", kReadCi, {"limit", "cursor"}, list});
    table.push_back({"POST", "/images", kWrite, {}, create});
    table.push_back({"GET", "/images/{image}", kReadCi, {}, get});
    table.push_back({"DELETE", "/images/{image}", kWrite, {}, remove});
    table.push_back({"GET", "/images/{image}/versions", kReadCi, {}, list_versions});
    table.push_back({"DELETE", "/images/{image}/versions/{number}", kWrite, {}, remove_version});
    for (const std::string kind : {"verify", "prewarm"})
        table.push_back(
            {"POST", "/images/{image}/versions/{number}/" + kind, kWrite, {}, [kind](Call& call) {
                 return queue_reading(call, kind);
             }});
    table.push_back({"PUT", "/images/{image}/channels/{channel}", kWrite, {}, set_channel});
    table.push_back({"DELETE", "/images/{image}/channels/{channel}", kWrite, {}, remove_channel});
    table.push_back({"PUT", "/images/{image}/channels/{channel}/pin", kWrite, {}, [](Call& call) {
                         return set_pin(call, true);
                     }});
    table.push_back(
        {"DELETE", "/images/{image}/channels/{channel}/pin", kWrite, {}, [](Call& call) {
             return set_pin(call, false);
         }});
}

}  // namespace goldlink::manager::api
