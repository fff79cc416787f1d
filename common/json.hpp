// Reading JSON from peers with errors that name the field, over Boost.JSON.
//
//   GOLDLINK_TRY_ASSIGN(auto body, json::parse_object(request.body));
//   GOLDLINK_TRY_ASSIGN(auto name, json::string_field(body, "name", 1, 64));
//
// Include only from .cpp files: Boost.JSON is heavy.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.hpp"

namespace goldlink::json {

using boost::json::array;
using boost::json::object;
using boost::json::value;

// Always UTF-8, which boost::json does not see to: what we serialise, anybody parses. Bytes of a
// string that belong to no character become U+FFFD.
std::string serialize(const value& v);
std::string serialize(const object& o);
std::string serialize(const array& a);

// Parses one value; depth at most 32. The error says where.
Result<value> parse(std::string_view text);
Result<object> parse_object(std::string_view text);

// Required fields. Lengths are in bytes, bounds inclusive. Error kind: invalid, naming the field.
Result<std::string> string_field(const object& o, std::string_view name, std::size_t min_length,
                                 std::size_t max_length);
Result<std::int64_t> int_field(const object& o, std::string_view name, std::int64_t min,
                               std::int64_t max);
Result<bool> bool_field(const object& o, std::string_view name);
Result<array> array_field(const object& o, std::string_view name, std::size_t max_items);
Result<object> object_field(const object& o, std::string_view name);

// The same for optional fields: absent or null gives nullopt, a wrong type is an error.
Result<std::optional<std::string>> optional_string(const object& o, std::string_view name,
                                                   std::size_t max_length);
Result<std::optional<std::int64_t>> optional_int(const object& o, std::string_view name,
                                                 std::int64_t min, std::int64_t max);
Result<std::optional<bool>> optional_bool(const object& o, std::string_view name);

// Refuses an object with a field not in `known`, naming it: a mistyped option must not be ignored.
Result<> only_fields(const object& o, std::initializer_list<std::string_view> known);

}  // namespace goldlink::json
