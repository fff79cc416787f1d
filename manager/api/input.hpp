// Reading what callers send: bodies, names, references, pages. Everything is bounded and a refusal
// names the field. Include only from .cpp files (Boost.JSON). Pure but for the resolve functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/json.hpp"
#include "manager/api/routes.hpp"
#include "manager/db/connection.hpp"

// GOLDLINK_TRY_ASSIGN for Maybe<T>.
#define GOLDLINK_TRY_CALL(declaration, expression)                            \
    auto GOLDLINK_TRY_JOIN(goldlink_maybe_, __LINE__) = (expression);         \
    if (!GOLDLINK_TRY_JOIN(goldlink_maybe_, __LINE__))                        \
        return ::goldlink::manager::api::Refused(                             \
            std::move(GOLDLINK_TRY_JOIN(goldlink_maybe_, __LINE__)).error()); \
    declaration = std::move(*GOLDLINK_TRY_JOIN(goldlink_maybe_, __LINE__))

namespace goldlink::manager::api {

// The body as an object with no other fields than these. `optional`: no body is an empty object.
Maybe<json::object> body_object(const Call& call, std::initializer_list<std::string_view> fields,
                                bool optional = false);

inline constexpr std::size_t kMaxNoteCharacters = 500;

// Names of images, clients, groups and tokens: letters, digits and . _ -, at most 63.
bool is_name(std::string_view text);
bool is_channel_name(std::string_view text);
Maybe<std::string> name_field(const json::object& body, std::string_view field);
Maybe<std::optional<std::string>> note_field(const json::object& body);
// The channel that a new version is to go to.
Maybe<std::optional<std::string>> channel_field(const json::object& body);
Maybe<std::string> checked_note(const std::string& note);
Maybe<std::string> policy_field(const json::object& body, const std::string& fallback);
// Normalised (52:54:00:12:34:56), 1 to 8, none twice.
Maybe<std::vector<std::string>> macs_field(const json::object& body);
Maybe<std::string> checked_pattern(const std::string& pattern);

// "30m" in seconds: s, m, h, d; at most a year.
Maybe<std::int64_t> parse_lease(std::string_view text);

struct ImageReference {
    std::string image;
    std::optional<std::string> channel;   // exactly one of channel
    std::optional<std::int64_t> version;  // and version
};
// NAME (its channel production), NAME:channel or NAME@version.
Maybe<ImageReference> parse_image_reference(std::string_view text);
// What it points at now, or why it points at nothing.
Maybe<db::ImageTarget> resolve(db::Connection& c, const ImageReference& reference);

struct Page {
    int limit = 200;
    std::string cursor;  // the last key of the page before, "" at first
};
// ids: the key is a UUID.
Maybe<Page> page_of(const Call& call, bool ids);
std::string encode_cursor(const std::string& key);

Maybe<std::string> uuid_param(const Call& call, const std::string& name, std::string_view what);
Maybe<std::int64_t> version_param(const Call& call);
Maybe<bool> bool_query(const Call& call, std::string_view name);
// From 0 to `most`; nullopt when it is absent.
Maybe<std::optional<std::int64_t>> number_query(const Call& call, std::string_view name,
                                                std::int64_t most = INT64_MAX);

// If-Match (RFC 9110 13.1.1) against the record's revision: 412 when it was changed meanwhile.
std::string etag(std::int64_t revision);
Maybe<void> check_if_match(const Call& call, std::int64_t revision);

// A page of rows fetched with limit + 1: {"items", "next_cursor"}; key: the row's cursor key.
template <typename Row, typename View, typename Key>
http::Response page_response(std::vector<Row> rows, const Page& page, View view, Key key) {
    json::value next;
    if (rows.size() > static_cast<std::size_t>(page.limit)) {
        rows.resize(static_cast<std::size_t>(page.limit));
        next = encode_cursor(key(rows.back()));
    }
    json::array items;
    for (const Row& row : rows) items.push_back(view(row));
    http::Response response;
    response.body = json::serialize(
        json::object{{"items", std::move(items)}, {"next_cursor", std::move(next)}});
    return response;
}

http::Response json_response(int status, const json::value& body);
http::Response no_content();

}  // namespace goldlink::manager::api
