#include <catch2/catch.hpp>

#include "common/mac.hpp"

using namespace goldlink;

TEST_CASE("the ways admins write a MAC address") {
    for (const char* text :
         {"52:54:00:Ab:cd:ef", "52-54-00-AB-CD-EF", "5254.00ab.cdef", "525400abcdef"}) {
        const auto mac = Mac::parse(text);
        REQUIRE(mac);
        CHECK(mac->to_string() == "52:54:00:ab:cd:ef");
    }
}

TEST_CASE("what is no client's address is refused with the reason") {
    CHECK(Mac::parse("").error().message.find("twelve") != std::string::npos);
    CHECK(Mac::parse("52:54:00:ab:cd").error().message.find("twelve") != std::string::npos);
    CHECK(Mac::parse("52:54:00:ab:cd:eg").error().message.find("twelve") != std::string::npos);
    CHECK(Mac::parse("01:00:5e:00:00:01").error().message.find("multicast") != std::string::npos);
    CHECK(Mac::parse("00:00:00:00:00:00").error().message.find("empty") != std::string::npos);
    CHECK_FALSE(Mac::parse(std::string(100000, 'a')));
}
