// Groups: the defaults that clients share.
#include <fmt/format.h>

#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/clients.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::string_view kDefaultPattern = "PC-{n:03}";

Maybe<db::Group> needed_group(db::Connection& c, const Call& call) {
    const std::string& name = call.param("group");
    GOLDLINK_TRY_ASSIGN(auto group, db::find_group(c, name));
    if (!group) return refuse_missing(fmt::format("group {}", name.substr(0, 64)));
    return std::move(*group);
}

http::Response shown(int status, const db::Group& group) {
    http::Response response = json_response(status, view(group));
    response.headers.emplace_back("ETag", etag(group.revision));
    return response;
}

Maybe<std::optional<db::GroupImage>> group_image(db::Connection& c,
                                                 const std::optional<std::string>& text) {
    if (!text) return std::optional<db::GroupImage>();
    GOLDLINK_TRY_CALL(const ImageReference reference, parse_image_reference(*text));
    GOLDLINK_TRY_CALL(const db::ImageTarget target, resolve(c, reference));
    return std::optional(db::GroupImage{target.image_id, reference.channel, reference.version});
}

Maybe<std::string> pattern_field(const json::object& body, std::string_view fallback) {
    const auto pattern = json::optional_string(body, "naming_pattern", 63);
    if (!pattern) return refuse_field("naming_pattern", pattern.error().message);
    return checked_pattern(pattern->value_or(std::string(fallback)));
}

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, false));
    GOLDLINK_TRY_ASSIGN(auto groups, call.services.pool.run([&](db::Connection& c) {
        return db::list_groups(c, page.cursor, page.limit + 1);
    }));
    return page_response(
        std::move(groups), page, [](const db::Group& group) { return view(group); },
        [](const db::Group& group) { return group.name; });
}

Answer create(Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"name", "image", "policy", "naming_pattern"}));
    GOLDLINK_TRY_CALL(const std::string name, name_field(body, "name"));
    GOLDLINK_TRY_CALL(const std::string policy, policy_field(body, "discard"));
    GOLDLINK_TRY_CALL(const std::string pattern, pattern_field(body, kDefaultPattern));
    const auto image_text = json::optional_string(body, "image", 140);
    if (!image_text) return refuse_field("image", image_text.error().message);
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const auto image, group_image(c, *image_text));
        GOLDLINK_TRY_ASSIGN(const auto id, db::insert_group(c, name, image, policy, pattern));
        if (!id)
            return refuse(409, "name-taken", "The name is taken",
                          fmt::format("there is a group {} already", name));
        GOLDLINK_TRY_ASSIGN(const auto group, db::find_group(c, name));
        return shown(201, *group);
    });
}

Answer get(Call& call) {
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Group group, needed_group(c, call));
        return shown(200, group);
    });
}

Answer update(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"image", "policy", "naming_pattern"}));
    const auto image_text = json::optional_string(body, "image", 140);
    if (!image_text) return refuse_field("image", image_text.error().message);
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Group before, needed_group(c, call));
        if (auto match = check_if_match(call, before.revision); !match)
            return Refused(std::move(match).error());
        GOLDLINK_TRY_CALL(const std::string policy, policy_field(body, before.policy));
        GOLDLINK_TRY_CALL(const std::string pattern, pattern_field(body, before.naming_pattern));
        GOLDLINK_TRY_CALL(const auto image,
                          group_image(c, body.contains("image") ? *image_text : before.image));
        GOLDLINK_TRY(db::update_group(c, before.id, image, policy, pattern));
        GOLDLINK_TRY_ASSIGN(const auto group, db::find_group(c, before.name));
        if (!group)
            return refuse_missing(fmt::format("group {}; it was deleted meanwhile", before.name));
        return shown(200, *group);
    });
}

Answer remove(Call& call) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Group group, needed_group(c, call));
        GOLDLINK_TRY_ASSIGN(const auto clients, db::clients_of_group(c, group.id));
        if (!clients.empty())
            return refuse_blocked("group-in-use", "The group has clients",
                                  fmt::format("{} {} in group {}; move them to another group first",
                                              fmt::join(clients, ", "),
                                              clients.size() == 1 ? "is" : "are", group.name),
                                  clients);
        GOLDLINK_TRY(db::delete_group(c, group.id));
        return no_content();
    });
}

}  // namespace

void add_group_routes(Table& table) {
    table.push_back({"GET", "/groups", kRead, {"limit", "cursor"}, list});
    table.push_back({"POST", "/groups", kWrite, {}, create});
    table.push_back({"GET", "/groups/{group}", kRead, {}, get});
    table.push_back({"PATCH", "/groups/{group}", kWrite, {}, update});
    table.push_back({"DELETE", "/groups/{group}", kWrite, {}, remove});
}

}  // namespace goldlink::manager::api
