// Which registry this target follows.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/hex.hpp"
#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

Result<std::string> uuid_field(const json::object& o, std::string_view name) {
    GOLDLINK_TRY_ASSIGN(std::string text, json::string_field(o, name, 36, 36));
    if (!is_uuid(text))
        return failure(ErrorKind::invalid, fmt::format("field '{}' must be a UUID", name));
    return text;
}

Result<RegistryOffer> parse_offer(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, json::parse_object(request.body));
    GOLDLINK_TRY(json::only_fields(body, {"id", "mark", "previous_mark", "revision", "adopt"}));
    RegistryOffer offer;
    GOLDLINK_TRY_ASSIGN(offer.id, uuid_field(body, "id"));
    GOLDLINK_TRY_ASSIGN(offer.mark, uuid_field(body, "mark"));
    GOLDLINK_TRY_ASSIGN(const auto previous, json::optional_string(body, "previous_mark", 36));
    if (previous) {
        GOLDLINK_TRY_ASSIGN(offer.previous_mark, uuid_field(body, "previous_mark"));
    }
    GOLDLINK_TRY_ASSIGN(const auto revision, json::int_field(body, "revision", 0, INT64_MAX));
    offer.revision = static_cast<std::uint64_t>(revision);
    GOLDLINK_TRY_ASSIGN(const auto adopt, json::optional_bool(body, "adopt"));
    offer.adopt = adopt.value_or(false);
    return offer;
}

json::object shown(const ControlContext& context) {
    json::object o{{"target_id", context.registry.target_id()},
                   {"registry", nullptr},
                   {"revision", context.links.revision()},
                   {"links", context.links.size()}};
    if (const auto known = context.registry.known())
        o["registry"] = json::object{{"id", known->id}, {"mark", known->mark}};
    return o;
}

http::Response put_registry(ControlContext& context, const http::Request& request) {
    const auto offer = parse_offer(request);
    if (!offer) return http::problem(offer.error());
    const auto match =
        context.registry.offer(*offer, context.links.revision(), context.links.has_state());
    if (!match) return http::problem(match.error());
    json::object body = shown(context);
    body["match"] = to_string(*match);
    return respond_json(200, body);
}

}  // namespace

void add_registry_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back({"GET", "/registry", [&c](Request&) { return respond_json(200, shown(c)); }});
    routes.push_back({"PUT", "/registry", [&c](Request& r) { return put_registry(c, r); }});
}

}  // namespace goldlink::control
