#include <catch2/catch.hpp>

#include "manager/csv.hpp"

using namespace goldlink;
using namespace goldlink::manager;

namespace {

std::vector<std::vector<std::string>> fields_of(std::string_view text) {
    const auto rows = parse_csv(text);
    REQUIRE(rows);
    std::vector<std::vector<std::string>> fields;
    for (const CsvRow& row : *rows) fields.push_back(row.fields);
    return fields;
}

using Table = std::vector<std::vector<std::string>>;

}  // namespace

TEST_CASE("csv: rows, quotes and line ends") {
    CHECK(fields_of("") == Table{});
    CHECK(fields_of("a,b") == Table{{"a", "b"}});
    CHECK(fields_of("a,b\r\nc,\n") == Table{{"a", "b"}, {"c", ""}});
    CHECK(fields_of("\"a,\"\"b\"\"\",c\n") == Table{{"a,\"b\"", "c"}});
    CHECK(fields_of("a\n\n\nb\n") == Table{{"a"}, {"b"}});
    CHECK(fields_of("\xef\xbb\xbfname\n") == Table{{"name"}});
    CHECK(fields_of(",\n") == Table{{"", ""}});
}

TEST_CASE("csv: rows know the line they start on") {
    const auto rows = parse_csv("a\n\n\"b\nc\"\nd\n");
    REQUIRE(rows);
    REQUIRE(rows->size() == 3);
    CHECK((*rows)[0].line == 1);
    CHECK((*rows)[1].line == 3);
    CHECK((*rows)[2].line == 5);
}

TEST_CASE("csv: what is malformed is refused with its line") {
    const auto open = parse_csv("a\n\"b");
    REQUIRE_FALSE(open);
    CHECK(open.error().message.find("line 2") != std::string::npos);
    const auto after = parse_csv("\"a\"b\n");
    REQUIRE_FALSE(after);
    CHECK(after.error().kind == ErrorKind::invalid);
    CHECK_FALSE(parse_csv(std::string(64, ',')));
}
