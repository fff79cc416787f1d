#include "manager/api/routes.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/clean_text.hpp"
#include "common/file.hpp"
#include "common/hex.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/api/input.hpp"
#include "manager/db/tokens.hpp"
#include "manager/sha256.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::string_view kBase = "/api/v1";
constexpr std::size_t kMaxBodyBytes = 1 << 20;
constexpr std::size_t kMaxTokenBytes = 256;

struct RoleName {
    Roles role;
    std::string_view name;
};
constexpr RoleName kRoleNames[] = {
    {kViewer, "viewer"}, {kOperator, "operator"}, {kAdmin, "admin"}, {kCi, "ci"}};

Roles role_of(std::string_view name) {
    for (const RoleName& row : kRoleNames)
        if (row.name == name) return row.role;
    return 0;
}

std::string names_of(Roles roles) {
    std::string names;
    for (const RoleName& row : kRoleNames)
        if (roles & row.role) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
    return names;
}

Maybe<std::string> bearer(const http::Request& request) {
    const std::string header = request.header("authorization");
    constexpr std::string_view kScheme = "bearer ";
    const bool is_bearer =
        header.size() > kScheme.size() &&
        std::equal(kScheme.begin(), kScheme.end(), header.begin(),
                   [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
    if (!is_bearer || header.size() > kMaxTokenBytes)
        return refuse(
            401, "token-missing", "A token is needed",
            "send the header \"Authorization: Bearer TOKEN\"; `goldlink up` writes the first admin "
            "token into its state folder, and admins make more with `goldlink token create`");
    return header.substr(kScheme.size());
}

Maybe<void> authenticate(Call& call, const ApiRoute& route) {
    GOLDLINK_TRY_CALL(const std::string secret, bearer(call.request));
    if (const auto problem = call.services.watch.problem())
        return Refused(Refusal(Error{ErrorKind::unavailable, *problem, 0}));
    call.token_sha256 = sha256_hex(secret);
    GOLDLINK_TRY_ASSIGN(auto token,
                        call.services.pool.run(
                            [&](db::Connection& c) { return db::use_token(c, call.token_sha256); },
                            route.patience ? db::within(*route.patience) : db::Limits()));
    call.services.known_tokens.note(call.token_sha256, token.has_value());
    if (!token)
        return refuse(401, "token-invalid", "The token is not valid",
                      "the token is unknown, revoked or expired; ask an admin for a new one");
    call.token = std::move(*token);
    if ((route.roles & role_of(call.token.role)) == 0)
        return refuse(
            403, "role-not-allowed", "The token's role does not allow this",
            fmt::format("the token \"{}\" has the role {}; {} {} needs {}", call.token.name,
                        call.token.role, route.method, route.path, names_of(route.roles)));
    return {};
}

// The database takes nothing else; bodies are JSON, which is UTF-8.
Maybe<void> check_text(const http::Request& request) {
    for (const auto* pairs : {&request.params, &request.query})
        for (const auto& [name, value] : *pairs)
            if (!is_utf8(value))
                return refuse_field(name, fmt::format("\"{}\" is not UTF-8", name));
    if (!is_utf8(request.header("idempotency-key")))
        return refuse_field("Idempotency-Key", "the Idempotency-Key is not UTF-8");
    return {};
}

Maybe<void> check_query(const http::Request& request, const ApiRoute& route) {
    for (const auto& [key, value] : request.query)
        if (std::find(route.query.begin(), route.query.end(), key) == route.query.end())
            return refuse_field(
                key,
                fmt::format("the query parameter \"{}\" is not known here; known: {}", key,
                            route.query.empty() ? "none"
                                                : fmt::format("{}", fmt::join(route.query, ", "))));
    return {};
}

// RFC 9110 style: the answer of a POST is kept under the caller's key, and given again to a repeat.
Answer with_idempotency(Call& call, const ApiRoute& route) {
    const std::string key = call.request.header("idempotency-key");
    // A new token's answer holds its secret, which is kept nowhere.
    if (key.empty() || route.method != "POST" || route.path == "/tokens")
        return route.handler(call);
    if (key.size() > 128)
        return refuse_field("Idempotency-Key", "the Idempotency-Key may have 128 characters");
    std::string asked = call.request.method + " " + call.request.path;
    for (const auto& [name, value] : call.request.query) asked += "&" + name + "=" + value;
    const std::string fingerprint = sha256_hex(asked + "\n" + call.request.body);

    db::Pool& pool = call.services.pool;
    GOLDLINK_TRY_ASSIGN(const auto earlier, pool.run([&](db::Connection& c) {
        return db::claim_key(c, call.token.id, key, fingerprint);
    }));
    if (earlier && earlier->fingerprint != fingerprint)
        return refuse(422, "idempotency-key-reused",
                      "The Idempotency-Key was used for another request",
                      "make a new key for each new request");
    if (earlier && !earlier->status)
        return refuse(
            409, "request-in-progress", "The same request is being worked on",
            "the first request with this Idempotency-Key has not ended; ask again in a moment");
    if (earlier) {
        http::Response kept;
        kept.status = static_cast<int>(*earlier->status);
        kept.body = earlier->body;
        return kept;
    }
    Answer answer = route.handler(call);
    const auto noted = pool.run([&](db::Connection& c) -> Result<> {
        if (!answer)
            return db::release_key(c, call.token.id,
                                   key);  // a refusal changed nothing: it may be tried again
        return db::keep_answer(c, call.token.id, key, answer->status, answer->body);
    });
    if (!noted)
        log::warn("the answer to Idempotency-Key {} could not be kept: {}", key,
                  noted.error().message);
    return answer;
}

// Asked of a route that needs no token, and when nothing may work.
bool is_known(Call& call) {
    constexpr std::chrono::seconds kFresh{60}, kAtAll{24 * 3600};
    constexpr std::chrono::milliseconds kPatience{1000};
    constexpr std::size_t kMaxFileBytes = 4096;
    const auto secret = bearer(call.request);
    if (!secret) return false;
    Services& services = call.services;
    const std::string sha256 = sha256_hex(*secret);
    if (services.known_tokens.has(sha256, kFresh)) return true;
    if (!services.watch.problem()) {
        const auto token = services.pool.run(
            [&](db::Connection& c) { return db::use_token(c, sha256); }, db::within(kPatience));
        if (token) {
            services.known_tokens.note(sha256, token->has_value());
            return token->has_value();
        }
    }
    if (services.known_tokens.has(sha256, kAtAll)) return true;
    // Who reads this file is root here: as good a word as the database's while that is down.
    auto kept = read_file(services.admin_token_file, kMaxFileBytes);
    if (!kept) return false;
    while (kept->ends_with('\n')) kept->pop_back();
    return equal_constant_time(sha256_hex(*kept), sha256);
}

Answer run(const ApiRoute& route, Services& services, http::Request& request) {
    Call call{request, services, {}, {}, false};
    if (route.roles == kAnybody) {
        call.is_known = is_known(call);
    } else if (route.roles != kNobodyAsked) {
        if (auto known = authenticate(call, route); !known)
            return Refused(std::move(known).error());
    }
    if (auto fine = check_query(request, route); !fine) return Refused(std::move(fine).error());
    if (auto fine = check_text(request); !fine) return Refused(std::move(fine).error());
    return with_idempotency(call, route);
}

}  // namespace

Table api_table() {
    Table table;
    add_system_routes(table);
    add_token_routes(table);
    add_image_routes(table);
    add_image_copy_routes(table);
    add_upload_routes(table);
    add_upload_set_routes(table);
    add_export_routes(table);
    add_transfer_routes(table);
    add_repair_routes(table);
    add_garbage_routes(table);
    add_registry_routes(table);
    add_trash_routes(table);
    add_group_routes(table);
    add_client_routes(table);
    add_client_import_routes(table);
    add_link_routes(table);
    add_task_routes(table);
    add_event_routes(table);
    return table;
}

std::vector<http::Route> serve(const Table& table, Services& services) {
    std::vector<http::Route> routes;
    for (const ApiRoute& row : table) {
        http::Route route;
        route.method = row.method;
        route.pattern = std::string(kBase) + row.path;
        route.max_body_bytes = kMaxBodyBytes;
        route.streaming_body = row.streaming_body;
        route.handler = [row, &services](http::Request& request) {
            Answer answer = run(row, services, request);
            http::Response response = answer ? std::move(*answer) : answer.error().response();
            response.headers.emplace_back("Cache-Control", "no-store");
            return response;
        };
        routes.push_back(std::move(route));
    }
    return routes;
}

}  // namespace goldlink::manager::api
