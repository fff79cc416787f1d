#include <catch2/catch.hpp>

#include "target/iscsi/text.hpp"

using namespace goldlink::iscsi;
using namespace std::string_literals;

TEST_CASE("text segments are cut into pairs") {
    const std::string text = "A=1\0Bb.c=x=y\0X-z=\0"s;
    const auto keys = parse_text(text);
    REQUIRE(keys);
    REQUIRE(keys->size() == 3);
    CHECK((*keys)[0].key == "A");
    CHECK((*keys)[1].value == "x=y");
    CHECK((*keys)[2].value.empty());
    CHECK(parse_text("")->empty());
    CHECK(parse_text("A=1\0\0\0"s)->size() == 1);  // padding counted into the segment
}

TEST_CASE("malformed text is refused") {
    CHECK_FALSE(parse_text("A=1"));
    CHECK_FALSE(parse_text("A\0"s));
    CHECK_FALSE(parse_text("=1\0"s));
    CHECK_FALSE(parse_text("A b=1\0"s));
    CHECK_FALSE(parse_text(std::string(kMaxKeyBytes + 1, 'k') + "=1\0"s));
    CHECK(parse_text(std::string(kMaxKeyBytes, 'k') + "=1\0"s));
    CHECK_FALSE(parse_text("k=" + std::string(kMaxValueBytes + 1, 'v') + "\0"s));
    std::string many;
    for (std::size_t i = 0; i <= kMaxKeys; ++i) append_pair(many, "k" + std::to_string(i), "v");
    CHECK_FALSE(parse_text(many));
}

TEST_CASE("numbers are decimal or hexadecimal, whole and bounded") {
    CHECK(parse_number("0") == 0U);
    CHECK(parse_number("65536") == 65536U);
    CHECK(parse_number("0x1F") == 31U);
    CHECK(parse_number("18446744073709551615") == ~0ULL);
    for (const char* bad : {"", "-1", "+1", " 1", "1 ", "1k", "0x", "0xg", "18446744073709551616"})
        CHECK_FALSE(parse_number(bad));
}

TEST_CASE("binary values in hexadecimal and base64") {
    using Bytes = std::vector<std::uint8_t>;
    CHECK(parse_binary("0x0aFf", 8) == Bytes{0x0a, 0xff});
    CHECK(parse_binary("0xaff", 8) == Bytes{0x0a, 0xff});
    CHECK(parse_binary("0bZm9v", 8) == Bytes{'f', 'o', 'o'});
    CHECK(parse_binary("0BZm9vYg==", 8) == Bytes{'f', 'o', 'o', 'b'});
    CHECK(parse_binary("0bZm9vYmE=", 8) == Bytes{'f', 'o', 'o', 'b', 'a'});
    for (const char* bad : {"", "0x", "0b", "0xzz", "0bZm9", "0bZm9*", "aff", "0b====", "1xaa"})
        CHECK_FALSE(parse_binary(bad, 8));
    CHECK_FALSE(parse_binary("0x010203", 2));
    CHECK_FALSE(parse_binary("0bZm9v", 2));
    const Bytes bytes{0, 1, 0xfe};
    CHECK(parse_binary(format_binary(bytes), 8) == bytes);
}

TEST_CASE("iSCSI names compare without regard to case") {
    CHECK(fold_name("IQN.Ab-C") == "iqn.ab-c");
}
