// Health, status, who am I, and the contract itself.
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/images.hpp"
#include "manager/db/links.hpp"
#include "manager/embedded.hpp"

namespace goldlink::manager::api {
namespace {

std::string word_of(const PeerResult<std::string>& answer) {
    return answer ? "ok" : answer.error().detail;
}

PeerResult<std::string> pxe_status(const Services& services) {
    return services.pxe->call("GET", "/status", "", std::chrono::seconds(2));
}

Answer health(Call& call) {
    Services& services = call.services;
    const std::string database = services.watch.problem().value_or("ok");
    const std::string target = word_of(services.target_status.get());
    const std::string pxe = services.pxe == nullptr ? "off" : word_of(pxe_status(services));
    const bool fine = database == "ok" && target == "ok" && (pxe == "ok" || pxe == "off");
    return json_response(fine ? 200 : 503, json::object{{"status", fine ? "ok" : "degraded"},
                                                        {"version", GOLDLINK_VERSION},
                                                        {"database", database},
                                                        {"target", target},
                                                        {"pxe", pxe}});
}

Answer openapi(Call&) {
    http::Response response;
    response.body = openapi_json();
    return response;
}

Answer whoami(Call& call) {
    return json_response(200, json::object{{"token_id", call.token.id},
                                           {"name", call.token.name},
                                           {"role", call.token.role}});
}

// What a daemon says of itself, or {"problem": why not}.
json::object said(const PeerResult<std::string>& answer) {
    if (!answer) return {{"problem", answer.error().detail}};
    auto object = json::parse_object(*answer);
    if (!object) return {{"problem", object.error().message}};
    return std::move(*object);
}

json::value free_bytes(const json::object& target, std::string_view what) {
    const json::value* part = target.if_contains(what);
    if (part == nullptr || !part->is_object()) return nullptr;
    const json::value* free = part->as_object().if_contains("free_bytes");
    return free == nullptr ? json::value(nullptr) : *free;
}

Answer status(Call& call) {
    Services& services = call.services;
    struct Totals {
        std::int64_t clients, links, images;
    };
    GOLDLINK_TRY_ASSIGN(const Totals totals,
                        services.pool.run([](db::Connection& c) -> Result<Totals> {
                            GOLDLINK_TRY_ASSIGN(const auto clients, db::count_clients(c));
                            GOLDLINK_TRY_ASSIGN(const auto links, db::count_links(c));
                            GOLDLINK_TRY_ASSIGN(const auto images, db::count_images(c));
                            return Totals{clients, links, images};
                        }));
    json::object target = said(services.target_status.get());
    json::object pxe = services.pxe == nullptr
                           ? json::object{{"problem", "this manager has no pxe"}}
                           : said(pxe_status(services));
    const auto portal = services.target_status.portal(call.request.local);
    const json::value* sessions = target.if_contains("sessions");
    json::object body{
        {"version", GOLDLINK_VERSION},
        {"portal", portal ? json::value(*portal) : json::value(nullptr)},
        {"clients", totals.clients},
        {"links", totals.links},
        {"images", totals.images},
        {"sessions", sessions != nullptr && sessions->is_number() ? *sessions : json::value(0)},
        {"store_free_bytes", free_bytes(target, "store")},
        {"overlay_free_bytes", free_bytes(target, "overlay")}};
    body["target"] = std::move(target);
    body["pxe"] = std::move(pxe);
    return json_response(200, body);
}

}  // namespace

void add_system_routes(Table& table) {
    table.push_back({"GET", "/health", kNobodyAsked, {}, health});
    table.push_back({"GET", "/openapi.json", kNobodyAsked, {}, openapi});
    table.push_back({"GET", "/whoami", kRead | kCi, {}, whoami});
    table.push_back({"GET", "/status", kRead, {}, status});
}

}  // namespace goldlink::manager::api
