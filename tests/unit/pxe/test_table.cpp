#include <catch2/catch.hpp>

#include "pxe/table.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

TableClient client(std::string id, std::initializer_list<const char*> macs) {
    TableClient made;
    made.id = std::move(id);
    made.name = "PC-" + made.id;
    for (const char* mac : macs) made.macs.push_back(Mac::parse(mac).value());
    return made;
}

}  // namespace

TEST_CASE("a client is found by each of its addresses") {
    const auto table = BootTable::make(
        3, {},
        {client("1", {"52:54:00:00:00:01", "52-54-00-00-00-02"}), client("2", {"525400000003"})});
    REQUIRE(table);
    CHECK(table->revision() == 3);
    CHECK(table->find(Mac::parse("52:54:00:00:00:02").value())->id == "1");
    CHECK(table->find(Mac::parse("52:54:00:00:00:03").value())->id == "2");
    CHECK(table->find(Mac::parse("52:54:00:00:00:04").value()) == nullptr);
}

TEST_CASE("a table survives being copied and moved") {
    auto table = BootTable::make(1, {}, {client("1", {"52:54:00:00:00:01"})}).value();
    const BootTable copy = table;
    const BootTable moved = std::move(table);
    const Mac mac = Mac::parse("52:54:00:00:00:01").value();
    CHECK(copy.find(mac) == &copy.clients()[0]);
    CHECK(moved.find(mac) == &moved.clients()[0]);
}

TEST_CASE("an address given twice names both clients") {
    const auto table = BootTable::make(
        1, {}, {client("1", {"52:54:00:00:00:01"}), client("2", {"52:54:00:00:00:01"})});
    REQUIRE_FALSE(table);
    CHECK(table.error().kind == ErrorKind::conflict);
    CHECK(table.error().message.find("PC-1") != std::string::npos);
    CHECK(table.error().message.find("PC-2") != std::string::npos);
    CHECK_FALSE(BootTable::make(
        1, {}, {client("1", {"52:54:00:00:00:01"}), client("1", {"52:54:00:00:00:02"})}));
    CHECK_FALSE(BootTable::make(1, {}, {client("1", {})}));
    CHECK(BootTable::make(1, {}, {client("1", {"52:54:00:00:00:01", "52:54:00:00:00:01"})}));
}

TEST_CASE("http_base is a plain http URL without a path") {
    for (const char* good : {"http://10.0.0.1:8081", "http://boot.example.org", "http://a-b:1"})
        CHECK(check_http_base(good));
    for (const char* bad :
         {"", "http://", "https://10.0.0.1", "http://10.0.0.1/", "http://10.0.0.1:0",
          "http://a:65536", "http://a:", "http://a b", "http://a\nexit", "http://${x}",
          "http://u@h", "http://[::1]:80",
          "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})
        CHECK_FALSE(check_http_base(bad));
}

TEST_CASE("policies and boot modes are named as the contract names them") {
    for (const auto policy : {UnknownPolicy::register_it, UnknownPolicy::ask, UnknownPolicy::local})
        CHECK(parse_unknown_policy(to_string(policy)) == policy);
    for (const auto boot : {BootFrom::link, BootFrom::local})
        CHECK(parse_boot_from(to_string(boot)) == boot);
    CHECK_FALSE(parse_unknown_policy("registered"));
    CHECK_FALSE(parse_boot_from(""));
}
