#include <catch2/catch.hpp>

#include "common/json.hpp"

using namespace goldlink;

TEST_CASE("JSON is parsed whole or refused with the place") {
    CHECK(json::parse(" {\"a\": [1, null]} \n"));
    CHECK(json::parse("17")->as_int64() == 17);
    for (const std::string text :
         {"", "{", "{\"a\":1,}", "{} {}", "[1] x", "nul", "\"\xff\"", "{'a':1}"}) {
        INFO(text);
        const auto parsed = json::parse(text);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().kind == ErrorKind::invalid);
    }
    CHECK(json::parse("{\"a\": tru}").error().message.find("byte") != std::string::npos);
    CHECK(json::parse(std::string(31, '[') + std::string(31, ']')));
    CHECK_FALSE(json::parse(std::string(100000, '[')));
    CHECK(json::parse_object("[]").error().message.find("an array") != std::string::npos);
}

TEST_CASE("fields are checked, and the error names the field") {
    const auto o = *json::parse_object(
        R"({"s":"text","i":-3,"big":18446744073709551615,"f":1.5,"b":true,"n":null,"a":[1,2],"o":{},"z":"a\u0000b"})");
    CHECK(*json::string_field(o, "s", 1, 4) == "text");
    CHECK_FALSE(json::string_field(o, "s", 1, 3));
    CHECK_FALSE(json::string_field(o, "z", 1, 30));
    CHECK(*json::int_field(o, "i", -3, 3) == -3);
    CHECK_FALSE(json::int_field(o, "i", -2, 3));
    CHECK_FALSE(json::int_field(o, "big", 0, INT64_MAX));
    CHECK_FALSE(json::int_field(o, "f", 0, 3));
    CHECK(*json::bool_field(o, "b"));
    CHECK(json::array_field(o, "a", 2)->size() == 2);
    CHECK_FALSE(json::array_field(o, "a", 1));
    CHECK(json::object_field(o, "o")->empty());
    const auto wrong = json::string_field(o, "i", 0, 10);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().message == "field 'i' must be a string, not an integer");
    CHECK(json::bool_field(o, "n").error().message == "field 'n' is missing");
    CHECK(json::optional_string(o, "n", 3)->has_value() == false);
    CHECK(json::optional_string(o, "absent", 3)->has_value() == false);
    CHECK_FALSE(json::optional_string(o, "b", 3));
    CHECK(*json::optional_int(o, "i", -5, 5) == -3);
    CHECK(*json::optional_bool(o, "b") == true);
    CHECK(json::only_fields(o, {"s", "i", "big", "f", "b", "n", "a", "o", "z"}));
    CHECK(json::only_fields(o, {"s"}).error().message.find("unknown field 'i'") !=
          std::string::npos);
}
