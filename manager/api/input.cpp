#include "manager/api/input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/hex.hpp"
#include "common/mac.hpp"
#include "manager/db/images.hpp"
#include "manager/naming.hpp"

namespace goldlink::manager::api {
namespace {

bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::size_t characters(std::string_view utf8) {
    return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

std::optional<std::int64_t> parse_number(std::string_view text, std::int64_t max) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    if (number < 0 || number > max) return std::nullopt;
    return number;
}

// The bounded, whole text of an Error of json:: turned into a refusal that names the field.
Refused refuse_json(std::string_view field, const Error& error) {
    return refuse_field(std::string(field), error.message);
}

constexpr std::string_view kNameRule =
    "a name has letters, digits, '.', '_' and '-', starts with a letter or digit, and has at most "
    "63 characters";

}  // namespace

Maybe<json::object> body_object(const Call& call, std::initializer_list<std::string_view> fields,
                                bool optional) {
    if (optional && call.request.body.empty()) return json::object{};
    GOLDLINK_TRY_ASSIGN(auto body, json::parse_object(call.request.body));
    GOLDLINK_TRY(json::only_fields(body, fields));
    return body;
}

bool is_name(std::string_view text) {
    if (text.empty() || text.size() > 63 || !is_alnum(text.front())) return false;
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_channel_name(std::string_view text) {
    if (text.empty() || text.size() > 63 || text.front() < 'a' || text.front() > 'z') return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    });
}

Maybe<std::string> name_field(const json::object& body, std::string_view field) {
    auto name = json::string_field(body, field, 1, 63);
    if (!name) return refuse_json(field, name.error());
    if (!is_name(*name))
        return refuse_field(std::string(field),
                            fmt::format("\"{}\" is no name: {}", *name, kNameRule));
    return std::move(*name);
}

Maybe<std::string> checked_note(const std::string& note) {
    if (characters(note) > kMaxNoteCharacters)
        return refuse_field("note", "a note may have 500 characters");
    return note;
}

Maybe<std::optional<std::string>> note_field(const json::object& body) {
    auto note = json::optional_string(body, "note", 4 * kMaxNoteCharacters);
    if (!note) return refuse_json("note", note.error());
    if (!*note) return std::optional<std::string>();
    GOLDLINK_TRY_CALL(std::string checked, checked_note(**note));
    return std::optional(std::move(checked));
}

Maybe<std::optional<std::string>> channel_field(const json::object& body) {
    auto channel = json::optional_string(body, "channel", 63);
    if (!channel) return refuse_json("channel", channel.error());
    if (*channel && !is_channel_name(**channel))
        return refuse_field("channel", fmt::format("\"{}\" is no channel name", **channel));
    return std::move(*channel);
}

Maybe<std::string> policy_field(const json::object& body, const std::string& fallback) {
    auto policy = json::optional_string(body, "policy", 16);
    if (!policy) return refuse_json("policy", policy.error());
    if (!*policy) return fallback;
    if (**policy != "discard" && **policy != "keep" && **policy != "super")
        return refuse_field(
            "policy", fmt::format("\"{}\" is no policy: it is discard, keep or super", **policy));
    return **policy;
}

Maybe<std::vector<std::string>> macs_field(const json::object& body) {
    const auto array = json::array_field(body, "macs", 8);
    if (!array) return refuse_json("macs", array.error());
    if (array->empty()) return refuse_field("macs", "a client needs at least one MAC address");
    std::vector<std::string> macs;
    for (const json::value& item : *array) {
        if (!item.is_string())
            return refuse_field("macs", "a MAC address is a text like 52:54:00:12:34:56");
        const auto mac = Mac::parse(std::string_view(item.as_string()));
        if (!mac) return refuse_field("macs", mac.error().message);
        if (std::find(macs.begin(), macs.end(), mac->to_string()) != macs.end())
            return refuse_field("macs", fmt::format("{} is given twice", mac->to_string()));
        macs.push_back(mac->to_string());
    }
    return macs;
}

Maybe<std::string> checked_pattern(const std::string& pattern) {
    if (const auto fine = check_naming_pattern(pattern); !fine)
        return refuse_field("naming_pattern", fine.error().message);
    return pattern;
}

Maybe<std::int64_t> parse_lease(std::string_view text) {
    constexpr std::int64_t kMaxSeconds = 365 * 86400;
    constexpr std::string_view kUnits = "smhd";
    constexpr std::int64_t kSeconds[] = {1, 60, 3600, 86400};
    const std::size_t unit = text.empty() ? std::string_view::npos : kUnits.find(text.back());
    const auto number = unit == std::string_view::npos
                            ? std::nullopt
                            : parse_number(text.substr(0, text.size() - 1), 999'999);
    if (!number || *number == 0)
        return refuse_field("lease",
                            fmt::format("\"{}\" is no lease time: write it like 90s, 30m, 2h or 7d",
                                        text.substr(0, 20)));
    if (*number * kSeconds[unit] > kMaxSeconds)
        return refuse_field("lease", "a lease may last a year at most");
    return *number * kSeconds[unit];
}

Maybe<ImageReference> parse_image_reference(std::string_view text) {
    const std::size_t mark = text.find_first_of(":@");
    ImageReference reference;
    reference.image = text.substr(0, mark);
    bool fine = is_name(reference.image);
    if (mark == std::string_view::npos) {
        reference.channel = "production";
    } else if (text[mark] == ':') {
        reference.channel = text.substr(mark + 1);
        fine = fine && is_channel_name(*reference.channel);
    } else {
        reference.version = parse_number(text.substr(mark + 1), 1'000'000'000);
        fine = fine && reference.version.value_or(0) > 0;
    }
    if (!fine)
        return refuse_field(
            "image",
            fmt::format("\"{}\" is no image reference: write NAME, NAME:channel or NAME@version",
                        text.substr(0, 140)));
    return reference;
}

Maybe<db::ImageTarget> resolve(db::Connection& c, const ImageReference& reference) {
    GOLDLINK_TRY_ASSIGN(auto target,
                        reference.channel
                            ? db::resolve_channel(c, reference.image, *reference.channel)
                            : db::resolve_version(c, reference.image, *reference.version));
    if (target) return std::move(*target);
    GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, reference.image));
    std::string detail;
    if (!image)
        detail = fmt::format("there is no image {}; upload one first", reference.image);
    else if (reference.version)
        detail = fmt::format("image {} has no version {} that is ready", image->name,
                             *reference.version);
    else
        detail = fmt::format(
            "image {} has no channel {}; point one at a ready version, or wait until its import is "
            "done",
            image->name, *reference.channel);
    Refusal refusal(409, "image-not-ready", "The image cannot be linked", std::move(detail));
    refusal.field = "image";
    return Refused(std::move(refusal));
}

Maybe<Page> page_of(const Call& call, bool ids) {
    Page page;
    if (const std::string limit = call.request.query_value("limit"); !limit.empty()) {
        const auto number = parse_number(limit, 1000);
        if (number.value_or(0) < 1)
            return refuse_field("limit", "limit is a number from 1 to 1000");
        page.limit = static_cast<int>(*number);
    }
    if (const std::string cursor = call.request.query_value("cursor"); !cursor.empty()) {
        const auto bytes = from_hex(cursor);
        if (bytes) page.cursor.assign(bytes->begin(), bytes->end());
        if (!bytes || page.cursor.empty() || (ids ? !is_uuid(page.cursor) : !is_name(page.cursor)))
            return refuse_field("cursor",
                                "the cursor is not one that this list gave as next_cursor");
    }
    return page;
}

std::string encode_cursor(const std::string& key) { return to_hex(as_bytes(key)); }

Maybe<std::string> uuid_param(const Call& call, const std::string& name, std::string_view what) {
    const std::string& id = call.param(name);
    if (!is_uuid(id)) return refuse_missing(fmt::format("{} {}", what, id.substr(0, 64)));
    return id;
}

Maybe<std::int64_t> version_param(const Call& call) {
    const auto number = parse_number(call.param("number"), 1'000'000'000);
    if (number.value_or(0) < 1)
        return refuse_missing(fmt::format("version {}", call.param("number").substr(0, 64)));
    return *number;
}

Maybe<bool> bool_query(const Call& call, std::string_view name) {
    const std::string value = call.request.query_value(name, "false");
    if (value == "true" || value == "1") return true;
    if (value == "false" || value == "0") return false;
    return refuse_field(std::string(name), fmt::format("{} is true or false", name));
}

Maybe<std::optional<std::int64_t>> number_query(const Call& call, std::string_view name,
                                                std::int64_t most) {
    const auto given = call.request.query.find(std::string(name));
    if (given == call.request.query.end()) return std::optional<std::int64_t>();
    const auto number = parse_number(given->second, most);
    if (!number)
        return refuse_field(std::string(name),
                            fmt::format("{} is a number from 0 to {}", name, most));
    return number;
}

std::string etag(std::int64_t revision) { return fmt::format("\"{}\"", revision); }

Maybe<void> check_if_match(const Call& call, std::int64_t revision) {
    const std::string wanted = call.request.header("if-match");
    if (wanted.empty() || wanted == "*" || wanted.find(etag(revision)) != std::string::npos)
        return {};
    return refuse(
        412, "changed-meanwhile", "It was changed meanwhile",
        "the record is no longer the one of your ETag; read it again and repeat the change");
}

http::Response json_response(int status, const json::value& body) {
    http::Response response;
    response.status = status;
    response.body = json::serialize(body);
    return response;
}

http::Response no_content() {
    http::Response response;
    response.status = 204;
    return response;
}

}  // namespace goldlink::manager::api
