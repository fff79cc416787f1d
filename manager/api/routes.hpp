// The REST API as one table: method, path, who may, which query parameters, handler.
//
// serve() turns the table into routes of the HTTP server and does what all calls share: token and
// role, refusal of unknown query parameters, Idempotency-Key of POSTs, problem details.
// Handlers run on connection threads, many at once, and may block.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/http/server.hpp"
#include "manager/api/refusal.hpp"
#include "manager/db/rows.hpp"
#include "manager/services.hpp"

namespace goldlink::manager::api {

// Sets of roles.
using Roles = unsigned;
inline constexpr Roles kViewer = 1, kOperator = 2, kAdmin = 4, kCi = 8;
inline constexpr Roles kNobodyAsked = 0;  // needs no token
inline constexpr Roles kAnybody = 16;  // likewise, but says more with a valid one (Call::is_known)
inline constexpr Roles kRead = kViewer | kOperator | kAdmin;
inline constexpr Roles kWrite = kOperator | kAdmin;

struct Call {
    http::Request& request;
    Services& services;
    db::Token token;  // empty on routes that need none
    std::string token_sha256;
    // Of routes for kAnybody: the token is valid, as far as that can be told.
    bool is_known = false;

    const std::string& param(const std::string& name) const { return request.params.at(name); }
    bool is_ci() const { return token.role == "ci"; }
    bool sees_secrets() const { return token.role != "viewer"; }
};

struct ApiRoute {
    std::string method;
    std::string path;  // below /api/v1
    Roles roles;
    std::vector<std::string> query;  // parameters it knows
    std::function<Answer(Call&)> handler;
    bool streaming_body = false;
    // For all that the caller's token is looked up with; nullopt: as long as the database takes.
    std::optional<std::chrono::milliseconds> patience{};
};
using Table = std::vector<ApiRoute>;

// Each resource adds its rows.
void add_system_routes(Table& table);
void add_token_routes(Table& table);
void add_image_routes(Table& table);
void add_image_copy_routes(Table& table);
void add_upload_routes(Table& table);
void add_upload_set_routes(Table& table);
void add_export_routes(Table& table);
void add_transfer_routes(Table& table);
void add_repair_routes(Table& table);
void add_garbage_routes(Table& table);
void add_registry_routes(Table& table);
void add_trash_routes(Table& table);
void add_group_routes(Table& table);
void add_client_routes(Table& table);
void add_client_import_routes(Table& table);
void add_link_routes(Table& table);
void add_task_routes(Table& table);
void add_event_routes(Table& table);

Table api_table();
std::vector<http::Route> serve(const Table& table, Services& services);

}  // namespace goldlink::manager::api
