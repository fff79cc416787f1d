#include <boost/json.hpp>
#include <catch2/catch.hpp>

#include "manager/cli/api.hpp"

using namespace goldlink;
using namespace goldlink::cli;

TEST_CASE("a problem document becomes what, why and what to do") {
    const auto error = error_of_problem(
        409, boost::json::parse(R"({"type": "image-in-use", "title": "Image in use",
        "status": 409, "detail": "image win11 is used by 2 links", "blocked_by": ["PC-001", "PC-002"]})"));
    CHECK(error.kind == ErrorKind::conflict);
    CHECK(error.message ==
          "Image in use\n  why: image win11 is used by 2 links\n  in the way: PC-001\n  in the "
          "way: PC-002\n"
          "  to do: 'goldlink link ls' shows the links; remove them with 'goldlink link rm ID'");
}

TEST_CASE("a problem names its field, and says a repeated title once") {
    const auto error = error_of_problem(
        400,
        boost::json::parse(
            R"({"type": "x", "title": "MAC malformed", "detail": "MAC malformed", "field": "macs"})"));
    CHECK(error.kind == ErrorKind::invalid);
    CHECK(error.message == "MAC malformed\n  field: macs");
}

TEST_CASE("a problem cannot drive the terminal, nor flood it") {
    boost::json::object problem{{"title", "a\x1b[2Jb"}};
    boost::json::array blockers;
    for (int i = 0; i < 50; ++i) blockers.emplace_back(std::to_string(i));
    problem["blocked_by"] = blockers;
    const auto error = error_of_problem(409, problem);
    CHECK(error.message.find('\x1b') == std::string::npos);
    CHECK(error.message.find("in the way: 9") != std::string::npos);
    CHECK(error.message.find("in the way: 10") == std::string::npos);
    CHECK(error.message.find("and 40 more") != std::string::npos);
}

TEST_CASE("an answer that is no problem document still makes an error") {
    CHECK(error_of_problem(502, nullptr).message ==
          "the server answers with HTTP status 502 and no reason");
    CHECK(error_of_problem(404, boost::json::parse("[1]")).kind == ErrorKind::not_found);
    CHECK(error_of_problem(503, boost::json::object()).kind == ErrorKind::unavailable);
    CHECK(error_of_problem(401, boost::json::object()).kind == ErrorKind::denied);
}

TEST_CASE("queries leave empty values out and encode the rest") {
    CHECK(query({}).empty());
    CHECK(query({{"a", ""}}).empty());
    CHECK(query({{"a", ""}, {"b", "x y&z"}, {"c", "1"}}) == "?b=x%20y%26z&c=1");
}

TEST_CASE("members of an answer are read without trusting their types") {
    const auto value = boost::json::parse(R"({"n": 7, "s": "x", "null": null, "list": [1]})");
    CHECK(text_of(value, "n", "fallback") == "fallback");
    CHECK(text_of(value, "s") == "x");
    CHECK(int_of(value, "s", -1) == -1);
    CHECK(int_of(value, "n") == 7);
    CHECK_FALSE(has_value(value, "null"));
    CHECK(items_of(value, "list").size() == 1);
    CHECK(items_of(value, "s").empty());
    CHECK(items_of(boost::json::value(3), "s").empty());
}
