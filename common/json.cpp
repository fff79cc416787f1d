#include "common/json.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/clean_text.hpp"

namespace goldlink::json {
namespace {

constexpr std::size_t kMaxDepth = 32;

std::string_view kind_name(const value& v) {
    switch (v.kind()) {
        case boost::json::kind::null:
            return "null";
        case boost::json::kind::bool_:
            return "a boolean";
        case boost::json::kind::int64:
        case boost::json::kind::uint64:
            return "an integer";
        case boost::json::kind::double_:
            return "a fraction";
        case boost::json::kind::string:
            return "a string";
        case boost::json::kind::array:
            return "an array";
        case boost::json::kind::object:
            return "an object";
    }
    return "something else";
}

Failure wrong_type(std::string_view name, std::string_view wanted, const value& found) {
    return failure(ErrorKind::invalid,
                   fmt::format("field '{}' must be {}, not {}", name, wanted, kind_name(found)));
}

Failure missing(std::string_view name) {
    return failure(ErrorKind::invalid, fmt::format("field '{}' is missing", name));
}

// The field's value, or nullptr when it is absent or null.
const value* present(const object& o, std::string_view name) {
    const value* v = o.if_contains(name);
    return v == nullptr || v->is_null() ? nullptr : v;
}

Result<std::string> to_text(const value& v, std::string_view name, std::size_t min_length,
                            std::size_t max_length) {
    const auto* text = v.if_string();
    if (text == nullptr) return wrong_type(name, "a string", v);
    if (text->size() < min_length || text->size() > max_length) {
        if (text->empty())
            return failure(ErrorKind::invalid, fmt::format("field '{}' is empty", name));
        return failure(ErrorKind::invalid,
                       fmt::format("field '{}' has {} bytes; it may have {} to {}", name,
                                   text->size(), min_length, max_length));
    }
    // Names and paths end up in C strings and log lines.
    if (text->find('\0') != boost::json::string::npos)
        return failure(ErrorKind::invalid, fmt::format("field '{}' contains a zero byte", name));
    return std::string(*text);
}

Result<std::int64_t> to_int(const value& v, std::string_view name, std::int64_t min,
                            std::int64_t max) {
    if (!v.is_int64() && !v.is_uint64()) return wrong_type(name, "an integer", v);
    // Parsed numbers are unsigned only beyond the range of int64; made ones may be so below it.
    boost::system::error_code error;
    const auto number = v.to_number<std::int64_t>(error);
    if (error || number < min || number > max)
        return failure(ErrorKind::invalid, fmt::format("field '{}' is {}; it must be {} to {}",
                                                       name, boost::json::serialize(v), min, max));
    return number;
}

Result<bool> to_bool(const value& v, std::string_view name) {
    const auto* flag = v.if_bool();
    if (flag == nullptr) return wrong_type(name, "a boolean", v);
    return *flag;
}

}  // namespace

std::string serialize(const value& v) { return as_utf8(boost::json::serialize(v)); }
std::string serialize(const object& o) { return as_utf8(boost::json::serialize(o)); }
std::string serialize(const array& a) { return as_utf8(boost::json::serialize(a)); }

Result<value> parse(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = kMaxDepth;
    boost::json::stream_parser parser({}, options);
    boost::system::error_code error;
    const std::size_t used = parser.write_some(text.data(), text.size(), error);
    if (error)
        return failure(ErrorKind::invalid,
                       fmt::format("not valid JSON at byte {}: {}", used, error.message()));
    if (used != text.size())
        return failure(ErrorKind::invalid,
                       fmt::format("JSON is followed by more at byte {}", used));
    parser.finish(error);
    if (error)
        return failure(ErrorKind::invalid,
                       text.empty() ? std::string("expected JSON, found nothing")
                                    : fmt::format("JSON ends too early, at byte {}", text.size()));
    return parser.release();
}

Result<object> parse_object(std::string_view text) {
    GOLDLINK_TRY_ASSIGN(value v, parse(text));
    if (!v.is_object())
        return failure(ErrorKind::invalid,
                       fmt::format("expected a JSON object, found {}", kind_name(v)));
    return std::move(v.get_object());
}

Result<std::string> string_field(const object& o, std::string_view name, std::size_t min_length,
                                 std::size_t max_length) {
    const value* v = present(o, name);
    if (v == nullptr) return missing(name);
    return to_text(*v, name, min_length, max_length);
}

Result<std::int64_t> int_field(const object& o, std::string_view name, std::int64_t min,
                               std::int64_t max) {
    const value* v = present(o, name);
    if (v == nullptr) return missing(name);
    return to_int(*v, name, min, max);
}

Result<bool> bool_field(const object& o, std::string_view name) {
    const value* v = present(o, name);
    if (v == nullptr) return missing(name);
    return to_bool(*v, name);
}

Result<array> array_field(const object& o, std::string_view name, std::size_t max_items) {
    const value* v = present(o, name);
    if (v == nullptr) return missing(name);
    if (!v->is_array()) return wrong_type(name, "an array", *v);
    if (v->get_array().size() > max_items)
        return failure(ErrorKind::invalid,
                       fmt::format("field '{}' has {} items; at most {} are allowed", name,
                                   v->get_array().size(), max_items));
    return v->get_array();
}

Result<object> object_field(const object& o, std::string_view name) {
    const value* v = present(o, name);
    if (v == nullptr) return missing(name);
    if (!v->is_object()) return wrong_type(name, "an object", *v);
    return v->get_object();
}

Result<std::optional<std::string>> optional_string(const object& o, std::string_view name,
                                                   std::size_t max_length) {
    const value* v = present(o, name);
    if (v == nullptr) return std::optional<std::string>();
    GOLDLINK_TRY_ASSIGN(std::string text, to_text(*v, name, 0, max_length));
    return std::optional<std::string>(std::move(text));
}

Result<std::optional<std::int64_t>> optional_int(const object& o, std::string_view name,
                                                 std::int64_t min, std::int64_t max) {
    const value* v = present(o, name);
    if (v == nullptr) return std::optional<std::int64_t>();
    GOLDLINK_TRY_ASSIGN(const std::int64_t number, to_int(*v, name, min, max));
    return std::optional<std::int64_t>(number);
}

Result<std::optional<bool>> optional_bool(const object& o, std::string_view name) {
    const value* v = present(o, name);
    if (v == nullptr) return std::optional<bool>();
    GOLDLINK_TRY_ASSIGN(const bool flag, to_bool(*v, name));
    return std::optional<bool>(flag);
}

Result<> only_fields(const object& o, std::initializer_list<std::string_view> known) {
    for (const auto& member : o) {
        const std::string_view key = member.key();
        if (std::find(known.begin(), known.end(), key) != known.end()) continue;
        return failure(ErrorKind::invalid, fmt::format("unknown field '{}'; known are: {}",
                                                       key.substr(0, 64), fmt::join(known, ", ")));
    }
    return {};
}

}  // namespace goldlink::json
