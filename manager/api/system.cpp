// Health, status, who am I, and the contract itself.
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/images.hpp"
#include "manager/db/links.hpp"
#include "manager/embedded.hpp"
#include "manager/health.hpp"

namespace goldlink::manager::api {
namespace {

// /status answers in about this time whatever hangs, as /health does.
constexpr std::chrono::milliseconds kPatience{2000};

json::array problems_json(const HealthReport& report) {
    json::array list;
    for (const Finding& finding : report.problems)
        list.push_back(json::object{
            {"source", finding.source}, {"problem", finding.problem}, {"to_do", finding.to_do}});
    return list;
}

// For load balancers and whoever else asks without a token: what fails, not where and how.
std::string_view brief(std::string_view part) {
    return part == "ok" || part == "off" || part == "unknown" ? part : "failing";
}

json::object brief_health(const HealthReport& report) {
    const bool degraded = report.is_degraded();
    json::array problems;
    if (degraded)
        problems.push_back(json::object{{"source", "manager"},
                                        {"problem", "not everything works"},
                                        {"to_do",
                                         "ask with a token: the answer then says what is "
                                         "wrong and what to do"}});
    return {{"status", degraded ? "degraded" : "ok"}, {"version", GOLDLINK_VERSION},
            {"database", brief(report.database)},     {"registry", brief(report.registry)},
            {"target", brief(report.target)},         {"pxe", brief(report.pxe)},
            {"problems", std::move(problems)}};
}

Answer health(Call& call) {
    const HealthReport report = call.services.health.report();
    const bool degraded = report.is_degraded();
    if (!call.is_known) return json_response(report.is_outage() ? 503 : 200, brief_health(report));
    return json_response(report.is_outage() ? 503 : 200,
                         json::object{{"status", degraded ? "degraded" : "ok"},
                                      {"version", GOLDLINK_VERSION},
                                      {"database", report.database},
                                      {"registry", report.registry},
                                      {"target", report.target},
                                      {"pxe", report.pxe},
                                      {"problems", problems_json(report)}});
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

struct Totals {
    std::int64_t clients, links, images;
};
Result<Totals> count_all(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const auto clients, db::count_clients(c));
    GOLDLINK_TRY_ASSIGN(const auto links, db::count_links(c));
    GOLDLINK_TRY_ASSIGN(const auto images, db::count_images(c));
    return Totals{clients, links, images};
}

Answer status(Call& call) {
    Services& services = call.services;
    GOLDLINK_TRY_ASSIGN(const Totals totals, services.pool.run(count_all, db::within(kPatience)));
    const HealthReport report = services.health.report();
    json::object target = said(report.target_status);
    json::object pxe = services.pxe == nullptr
                           ? json::object{{"problem", "this manager has no pxe"}}
                           : said(report.pxe_status);
    const auto portal = services.target_status.known_portal(call.request.local);
    const json::value* sessions = target.if_contains("sessions");
    json::object body{
        {"version", GOLDLINK_VERSION},
        {"portal", portal ? json::value(*portal) : json::value(nullptr)},
        {"clients", totals.clients},
        {"links", totals.links},
        {"images", totals.images},
        {"sessions", sessions != nullptr && sessions->is_number() ? *sessions : json::value(0)},
        {"store_free_bytes", free_bytes(target, "store")},
        {"overlay_free_bytes", free_bytes(target, "overlay")},
        {"health", report.is_degraded() ? "degraded" : "ok"},
        {"problems", problems_json(report)}};
    body["target"] = std::move(target);
    body["pxe"] = std::move(pxe);
    return json_response(200, body);
}

}  // namespace

void add_system_routes(Table& table) {
    table.push_back({"GET", "/health", kAnybody, {}, health});
    table.push_back({"GET", "/openapi.json", kNobodyAsked, {}, openapi});
    table.push_back({"GET", "/whoami", kRead | kCi, {}, whoami});
    table.push_back({"GET", "/status", kRead, {}, status, false, kPatience});
}

}  // namespace goldlink::manager::api
