#include "manager/cli/api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "common/json.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

// The manager bounds its own waits (a link becoming ready, a database coming back) well below this.
constexpr std::chrono::seconds kCallTimeout{60};
// The answer to an upload comes once the file has arrived and was handed on.
constexpr std::chrono::seconds kUploadStepTimeout{300};
// Two of the server's keep-alive comments may be missed before the stream counts as dead.
constexpr std::chrono::seconds kStreamStepTimeout{90};
constexpr std::size_t kMaxPages = 10'000;

ErrorKind kind_of(int status) {
    switch (status) {
        case 400:
        case 415:
        case 422:
            return ErrorKind::invalid;
        case 401:
        case 403:
            return ErrorKind::denied;
        case 404:
            return ErrorKind::not_found;
        case 409:
        case 412:
            return ErrorKind::conflict;
        case 503:
            return ErrorKind::unavailable;
        case 504:
            return ErrorKind::timeout;
        case 413:
        case 507:
            return ErrorKind::exhausted;
        default:
            return ErrorKind::io;
    }
}

// What helps with the problems that an admin of the command line can mend; the server's `detail`
// says the rest.
std::string_view advice(std::string_view type) {
    static constexpr std::pair<std::string_view, std::string_view> kAdvice[] = {
        {"image-in-use",
         "'goldlink link ls' shows the links; remove them with 'goldlink link rm ID'"},
        {"version-in-use",
         "move the channels and links to another version first: 'goldlink image "
         "promote NAME@N', 'goldlink link ls'"},
        {"link-in-use", "shut the client down, or add --force to cut it off"},
        {"link-running", "'goldlink link show LINK' says when its session has ended"},
        {"overlap",
         "'goldlink link rebase LINK --take fresh' starts from the new version; --take written "
         "--force lays the changes over it all the same"},
        {"version-conflict",
         "'goldlink link commit LINK --sibling' makes a version beside it, 'goldlink link abandon "
         "LINK' gives this one's edits up"},
        {"client-has-link", "remove its link first: 'goldlink link ls', 'goldlink link rm ID'"},
        {"group-in-use",
         "move its clients to another group first: 'goldlink client set NAME "
         "--group G'"},
        {"mac-in-use", "'goldlink client ls' shows who has it"},
        {"database-unavailable",
         "running PCs and new boots go on; look at what 'goldlink up' says of "
         "PostgreSQL, then repeat the command"},
    };
    for (const auto& [slug, text] : kAdvice)
        if (slug == type) return text;
    return {};
}

}  // namespace

Api::Api(std::string url, std::string token, std::string token_source)
    : url_(std::move(url)),
      token_(std::move(token)),
      token_source_(std::move(token_source)),
      client_(url_) {}

http::ClientRequest Api::request(std::string method, const std::string& path) const {
    http::ClientRequest request;
    request.method = std::move(method);
    request.target = "/api/v1" + path;
    request.timeout = kCallTimeout;
    if (!token_.empty()) request.headers.emplace_back("Authorization", "Bearer " + token_);
    request.headers.emplace_back("Accept", "application/json");
    return request;
}

Result<json::value> Api::get(const std::string& path) { return call(request("GET", path)); }

Result<json::value> Api::get(const std::string& path, std::chrono::seconds timeout) {
    auto r = request("GET", path);
    r.timeout = timeout;
    return call(std::move(r));
}

Result<json::value> Api::post(const std::string& path, const json::value& body) {
    auto r = request("POST", path);
    r.body = json::serialize(body);
    return call(std::move(r));
}

Result<json::value> Api::put(const std::string& path, const json::value& body) {
    auto r = request("PUT", path);
    r.body = json::serialize(body);
    return call(std::move(r));
}

Result<json::value> Api::patch(const std::string& path, const json::value& body) {
    auto r = request("PATCH", path);
    r.body = json::serialize(body);
    return call(std::move(r));
}

Result<> Api::remove(const std::string& path) {
    GOLDLINK_TRY(call(request("DELETE", path)));
    return {};
}

Result<json::value> Api::post_text(const std::string& path, std::string content_type,
                                   std::string body) {
    auto r = request("POST", path);
    r.content_type = std::move(content_type);
    r.body = std::move(body);
    return call(std::move(r));
}

Result<json::array> Api::list(const std::string& path) {
    json::array items;
    std::string cursor;
    for (std::size_t pages = 0; pages < kMaxPages; ++pages) {
        std::string page_path = path;
        if (!cursor.empty()) {
            page_path += path.find('?') == std::string::npos ? '?' : '&';
            page_path += "cursor=" + http::percent_encode(cursor);
        }
        GOLDLINK_TRY_ASSIGN(auto page, get(page_path));
        for (const auto& item : items_of(page, "items")) items.push_back(item);
        cursor = text_of(page, "next_cursor");
        if (cursor.empty()) return items;
    }
    return failure(ErrorKind::invalid,
                   fmt::format("{} answers {} with pages without end", url_, path));
}

Result<json::value> Api::upload(const std::string& path, std::uint64_t length,
                                std::function<Result<std::size_t>(char*, std::size_t)> source) {
    auto r = request("PUT", path);
    r.content_type = "application/octet-stream";
    http::MadeBody body(length, std::move(source));
    r.body_source = &body;
    r.timeout = kUploadStepTimeout;
    return call(std::move(r));
}

Result<std::string> Api::octets(std::string method, const std::string& path, std::string body,
                                std::size_t max_answer_bytes) {
    constexpr std::size_t kMaxProblemBytes = 64 * 1024;
    auto r = request(std::move(method), path);
    r.max_response_bytes = std::max(max_answer_bytes, kMaxProblemBytes);
    r.content_type = "application/octet-stream";
    r.body = std::move(body);
    r.headers.back() = {"Accept", "*/*"};
    auto response = client_.send(r);
    if (!response) return Failure(connection_error(std::move(response).error()));
    if (response->status / 100 != 2) return Failure(problem_error(*response));
    if (response->body.size() > max_answer_bytes)
        return failure(ErrorKind::invalid, fmt::format("{} answers {} with more than {} bytes",
                                                       url_, r.target, max_answer_bytes));
    return std::move(response->body);
}

Result<> Api::download(const std::string& path, std::function<bool(std::string_view)> on_data) {
    return octets_to("GET", path, "", std::move(on_data));
}

Result<> Api::octets_to(std::string method, const std::string& path, std::string body,
                        std::function<bool(std::string_view)> on_data) {
    auto r = request(std::move(method), path);
    r.content_type = "application/octet-stream";
    r.body = std::move(body);
    r.headers.back() = {"Accept", "*/*"};
    r.on_data = std::move(on_data);
    auto response = client_.send(r);
    if (!response) return Failure(connection_error(std::move(response).error()));
    if (response->status / 100 != 2) return Failure(problem_error(*response));
    return {};
}

Result<> Api::stream(const std::string& path, std::int64_t last_event_id,
                     std::function<bool(std::string_view)> on_data) {
    auto r = request("GET", path);
    r.headers.back() = {"Accept", "text/event-stream"};
    if (last_event_id > 0) r.headers.emplace_back("Last-Event-ID", std::to_string(last_event_id));
    r.on_data = std::move(on_data);
    r.timeout = kStreamStepTimeout;
    auto response = client_.send(r);
    if (!response) return Failure(connection_error(std::move(response).error()));
    if (response->status / 100 != 2) return Failure(problem_error(*response));
    return {};
}

Result<json::value> Api::health() {
    auto response = client_.send(request("GET", "/health"));
    if (!response) return Failure(connection_error(std::move(response).error()));
    if (response->status != 200 && response->status != 503)
        return Failure(problem_error(*response));
    GOLDLINK_TRY_ASSIGN(auto body, goldlink::json::parse_object(response->body));
    if (!body.contains("status")) return Failure(problem_error(*response));
    return json::value(std::move(body));
}

Result<json::value> Api::call(http::ClientRequest request) {
    auto response = client_.send(request);
    if (!response) return Failure(connection_error(std::move(response).error()));
    if (response->status / 100 != 2) return Failure(problem_error(*response));
    if (response->body.empty()) return json::value(nullptr);
    auto body = goldlink::json::parse(response->body);
    if (!body)
        return failure(ErrorKind::invalid,
                       fmt::format("{} answers {} with something other than JSON: is it a Goldlink "
                                   "manager? Check --url and GOLDLINK_URL",
                                   url_, request.target));
    return std::move(*body);
}

Error Api::problem_error(const http::ClientResponse& response) const {
    const auto body = goldlink::json::parse(response.body);
    Error error = error_of_problem(response.status, body ? *body : json::value(nullptr));
    if (response.status == 401)
        error.message +=
            token_.empty()
                ? "\n  to do: no token was found; set GOLDLINK_TOKEN or give --token-file FILE "
                  "('goldlink "
                  "up' writes the admin's to admin.token in its state folder)"
                : fmt::format(
                      "\n  to do: the token of {} is not, or no longer, valid; an admin makes one "
                      "with 'goldlink token create NAME --role operator'",
                      token_source_);
    return error;
}

Error Api::connection_error(Error error) const {
    if (error.kind == ErrorKind::unavailable || error.kind == ErrorKind::timeout)
        error.message += fmt::format(
            "\n  to do: start the server with 'goldlink up', or say where it "
            "is with --url or GOLDLINK_URL (now {})",
            url_);
    return error;
}

Error error_of_problem(int status, const json::value& problem) {
    Error error{kind_of(status), "", 0};
    const auto title = text_of(problem, "title");
    const auto detail = text_of(problem, "detail");
    if (title.empty() && detail.empty()) {
        error.message = fmt::format("the server answers with HTTP status {} and no reason", status);
        return error;
    }
    error.message = printable(title.empty() ? detail : title);
    if (!detail.empty() && !title.empty() && detail != title)
        error.message += "\n  why: " + printable(detail);
    const auto field = text_of(problem, "field");
    if (!field.empty()) error.message += "\n  field: " + printable(field);
    constexpr std::size_t kMostShown = 10;
    const auto& blockers = items_of(problem, "blocked_by");
    for (std::size_t i = 0; i < blockers.size() && i < kMostShown; ++i)
        error.message += "\n  in the way: " + printable(blockers[i].is_string()
                                                            ? std::string(blockers[i].as_string())
                                                            : json::serialize(blockers[i]));
    if (blockers.size() > kMostShown)
        error.message += fmt::format("\n  in the way: and {} more", blockers.size() - kMostShown);
    if (const auto to_do = advice(text_of(problem, "type")); !to_do.empty())
        error.message += fmt::format("\n  to do: {}", to_do);
    return error;
}

std::string query(const std::map<std::string, std::string>& parameters) {
    std::string out;
    for (const auto& [name, value] : parameters) {
        if (value.empty()) continue;
        out += out.empty() ? '?' : '&';
        out += name + "=" + http::percent_encode(value);
    }
    return out;
}

const json::value* member(const json::value& object, std::string_view name) {
    const auto* o = object.if_object();
    return o == nullptr ? nullptr : o->if_contains(name);
}

std::string text_of(const json::value& object, std::string_view name, std::string fallback) {
    const auto* v = member(object, name);
    return v != nullptr && v->is_string() ? std::string(v->as_string()) : std::move(fallback);
}

std::int64_t int_of(const json::value& object, std::string_view name, std::int64_t fallback) {
    const auto* v = member(object, name);
    return v != nullptr && v->is_int64() ? v->as_int64() : fallback;
}

bool has_value(const json::value& object, std::string_view name) {
    const auto* v = member(object, name);
    return v != nullptr && !v->is_null();
}

const json::array& items_of(const json::value& object, std::string_view name) {
    static const json::array kNone;
    const auto* v = member(object, name);
    return v != nullptr && v->is_array() ? v->as_array() : kNone;
}

}  // namespace goldlink::cli
