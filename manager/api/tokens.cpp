// Tokens: listed, made (the secret is shown once), revoked.
#include "manager/db/tokens.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/sha256.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::int64_t kMinLifeSeconds = 60;
constexpr std::int64_t kMaxLifeSeconds = 315'360'000;  // ten years

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    GOLDLINK_TRY_ASSIGN(auto tokens, call.services.pool.run([&](db::Connection& c) {
        return db::list_tokens(c, page.cursor, page.limit + 1);
    }));
    return page_response(
        std::move(tokens), page, [](const db::Token& token) { return view(token); },
        [](const db::Token& token) { return token.id; });
}

Answer create(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"name", "role", "expires_in_seconds"}));
    GOLDLINK_TRY_CALL(const std::string name, name_field(body, "name"));
    const auto role = json::string_field(body, "role", 1, 16);
    if (!role) return refuse_field("role", role.error().message);
    if (*role != "admin" && *role != "operator" && *role != "viewer" && *role != "ci")
        return refuse_field(
            "role", fmt::format("\"{}\" is no role: it is admin, operator, viewer or ci", *role));
    const auto life =
        json::optional_int(body, "expires_in_seconds", kMinLifeSeconds, kMaxLifeSeconds);
    if (!life) return refuse_field("expires_in_seconds", life.error().message);

    const std::string secret = "gl_" + random_secret(40);
    GOLDLINK_TRY_ASSIGN(const auto token, call.services.pool.run([&](db::Connection& c) {
        return db::insert_token(c, name, *role, sha256_hex(secret), *life);
    }));
    json::object shown = view(token);
    shown["token"] = secret;
    return json_response(201, shown);
}

Answer remove(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "token_id", "token"));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto others, db::count_other_admins(c, id));
        if (others == 0)
            return refuse(409, "last-admin-token", "It is the last admin token",
                          "nobody could make tokens any more; make another admin token first");
        GOLDLINK_TRY_ASSIGN(const bool deleted, db::delete_token(c, id));
        if (!deleted) return refuse_missing(fmt::format("token {}", id));
        return no_content();
    });
}

}  // namespace

void add_token_routes(Table& table) {
    table.push_back({"GET", "/tokens", kAdmin, {"limit", "cursor"}, list});
    table.push_back({"POST", "/tokens", kAdmin, {}, create});
    table.push_back({"DELETE", "/tokens/{token_id}", kAdmin, {}, remove});
}

}  // namespace goldlink::manager::api
