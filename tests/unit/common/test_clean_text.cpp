// Text of peers: what clean_text, json::serialize and the log make of any bytes.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>

#include "common/clean_text.hpp"
#include "common/event_log.hpp"
#include "common/file.hpp"
#include "common/http/server.hpp"
#include "common/iscsi_name.hpp"
#include "common/json.hpp"
#include "common/log.hpp"
#include "tests/unit/temporary_folder.hpp"

using namespace goldlink;
using namespace std::string_literals;

namespace {

// Bytes as a hostile peer chooses them: all of them, and pieces that parsers stumble over.
std::string any_bytes(std::mt19937& random) {
    constexpr std::string_view kPieces[] = {"\xff",     "\xc3",  "\xe2\x82",   "\xed\xa0\x80",
                                            "\xf0\x9f", "\"",    "\\",         "\n",
                                            "\x1b[31m", "\\u00", "{",          "]",
                                            "\xc3\xbc", "iqn.",  ",{\"seq\":1"};
    std::string bytes;
    for (auto left = random() % 40; left > 0; --left) {
        if (random() % 2 == 0)
            bytes += kPieces[random() % std::size(kPieces)];
        else
            bytes.push_back(static_cast<char>(random() % 256));
    }
    return bytes;
}

// What a line of the log becomes.
std::string logged(const std::string& message) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "stderr";
    FileDescriptor saved(::dup(STDERR_FILENO));
    REQUIRE(std::freopen(path.c_str(), "w", stderr) != nullptr);
    init_log("test");
    log::info("{}", message);
    std::fflush(stderr);
    REQUIRE(::dup2(saved.get(), STDERR_FILENO) == STDERR_FILENO);
    return *read_file(path, 1 << 20);
}

}  // namespace

TEST_CASE("what others wrote becomes clean UTF-8") {
    const std::string replaced = "\xef\xbf\xbd";
    CHECK(clean_text("/Users/J\xc3\xbcrgen/\xe2\x82\xac \xf0\x9f\x8e\xae", 100) ==
          "/Users/J\xc3\xbcrgen/\xe2\x82\xac \xf0\x9f\x8e\xae");
    CHECK(clean_text(std::string_view("a\0b\n\x1b[31m\x7f", 10), 100) ==
          "a" + replaced + "b" + replaced + replaced + "[31m" + replaced);
    CHECK(clean_text("\xc2\x9b", 100) == replaced);  // CSI
    CHECK(clean_text("a\xe2\x80\xae"
                     "fdp.exe",
                     100) == "a" + replaced + "fdp.exe");
    CHECK(clean_text("\xc0\xaf", 100) == replaced + replaced);                 // an overlong '/'
    CHECK(clean_text("\xed\xa0\x80", 100) == replaced + replaced + replaced);  // a surrogate
    CHECK(clean_text("\xf4\x90\x80\x80", 100).size() == 4 * 3);
    CHECK(clean_text("\xe2\x82", 100) == replaced + replaced);
    CHECK(clean_text("", 100).empty());
}

TEST_CASE("text that is too long keeps the part that is asked for") {
    CHECK(clean_text("/a/very/long/path/file.txt", 11, Keep::end) ==
          "\xe2\x80\xa6"
          "file.txt");
    const std::string shown = clean_text(std::string(5000, '\xff') + "\xc3\xbc.txt", 20, Keep::end);
    CHECK(shown.size() <= 20);
    CHECK(shown.ends_with("\xef\xbf\xbd\xc3\xbc.txt"));
    CHECK(clean_text("iqn.2026-11.io.goldlink:pc", 14) ==
          "iqn.2026-11"
          "\xe2\x80\xa6");
    CHECK(clean_text("ab\xc3\xbc\xc3\xbc\xc3\xbc", 7) ==
          "ab\xc3\xbc"
          "\xe2\x80\xa6");
    CHECK(clean_text(std::string(100000, '\x01'), 300).size() <= 300);
}

TEST_CASE("any bytes as text: clean, no longer than asked for, and clean again is the same") {
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        const std::string bytes = any_bytes(random);
        const std::size_t most = 3 + random() % 60;
        const Keep keep = random() % 2 == 0 ? Keep::beginning : Keep::end;
        const std::string clean = clean_text(bytes, most, keep);
        REQUIRE(clean.size() <= most);
        REQUIRE(is_clean(clean));
        REQUIRE(clean_text(clean, most, keep) == clean);
        REQUIRE(is_utf8(as_utf8(bytes)));
        if (is_utf8(bytes)) REQUIRE(as_utf8(bytes) == bytes);
    }
}

TEST_CASE("what we serialise we parse, whatever a peer's bytes are") {
    std::mt19937 random(2);
    for (int i = 0; i < 20'000; ++i) {
        const std::string key = any_bytes(random), text = any_bytes(random);
        const json::object o{{key, json::array{text, json::object{{"name", text}}}}};
        const auto parsed = json::parse_object(json::serialize(o));
        REQUIRE(parsed);
        REQUIRE(parsed->begin()->key() == as_utf8(key));
        REQUIRE(parsed->begin()->value().as_array()[0].as_string() == as_utf8(text));
        REQUIRE(json::parse_object(http::problem(400, text, key, text).body));
    }
}

TEST_CASE("events with any bytes make pages and files that are read") {
    std::mt19937 random(3);
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "events";
    for (int start = 0; start < 3; ++start) {
        auto log = EventLog::open(file);
        for (int i = 0; i < 300; ++i)
            log->append(any_bytes(random), {{"data", {{"why", any_bytes(random)}}}});
        const auto page = json::parse_object(log->page(0));
        REQUIRE(page);
        CHECK(page->at("events").as_array().size() == static_cast<std::size_t>(300 * (start + 1)));
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
        CHECK(entry.path().filename() == "events");  // nothing was set aside
}

TEST_CASE("an old event file with bytes that are no UTF-8 costs no event") {
    const test::TemporaryFolder folder;
    const auto file = folder.path() / "events";
    REQUIRE(replace_file(
        file,
        "{\"seq\":1,\"time\":\"t\",\"kind\":\"login\"}\n"
        "{\"seq\":2,\"time\":\"t\",\"kind\":\"login\",\"data\":{\"n\":\"iqn.x:\xff\xfe\"}}\n"
        "{\"seq\":3,\"time\":\"t\",\"kind\":\"login\"}\n{\"closed\":3}\n"));
    auto log = EventLog::open(file);
    const auto page = json::parse_object(log->page(0));
    REQUIRE(page);
    const json::array& events = page->at("events").as_array();
    REQUIRE(events.size() == 3);
    CHECK(events[1].at("data").at("n") == "iqn.x:\xef\xbf\xbd\xef\xbf\xbd");
    CHECK(log->last_seq() == 3);
}

TEST_CASE("a log line is one line, and drives no terminal") {
    const std::string line = logged(
        "x\n2026-11-30T10:00:00.000 info goldlink-manager: admin signed in\x1b[31;1m\x07\xff");
    CHECK(std::count(line.begin(), line.end(), '\n') == 1);
    CHECK(line.ends_with("admin signed in\xef\xbf\xbd[31;1m\xef\xbf\xbd\xef\xbf\xbd\n"));
    CHECK(line.find("info test: x\xef\xbf\xbd"
                    "2026") != std::string::npos);
    CHECK(logged("J\xc3\xbcrgen's PC").ends_with("info test: J\xc3\xbcrgen's PC\n"));
    CHECK(logged(std::string(1 << 20, 'x')).size() < 20'000);
}

TEST_CASE("initiator names: what real ones send is taken") {
    for (const auto& name :
         {"iqn.1991-05.com.microsoft:desktop-7p2k1aq.school.local",
          "iqn.1993-08.org.debian:01:6cd2ff4b2c1",
          "iqn.2010-04.org.ipxe:4c4c4544-0051-3510-8052-b4c04f564d31",
          "iqn.2010-04.org.ipxe:PC_LAB_12", "iqn.2008-11.org.linux-kvm:win11+test",
          "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
          "iqn.2026-11.io.goldlink.client:pc-001", "IQN.1998-01.COM.VMWARE:ESX-01-4F2A", "iqn.test",
          "iqn.1994-05.com.redhat:b\xc3\xbc"
          "ro",
          "eui.02004567A425678D", "naa.52004567BA64678D", "naa.62004567BA64678D0123456789ABCDEF"}) {
        INFO(name);
        CHECK(iscsi_name_fault(name).empty());
    }
}

TEST_CASE("initiator names: what RFC 7143 and RFC 3722 do not allow is refused") {
    for (const auto& name : {""s,
                             "x"s,
                             "iqn."s,
                             "ign.2026-11.x"s,
                             "iqn.a b"s,
                             "iqn.a\n"s,
                             "iqn.a\x1b[31m"s,
                             "iqn.a,i,0x1"s,
                             "iqn.a=b"s,
                             "iqn.a\"b"s,
                             "iqn.a/../b"s,
                             "iqn.a\0b"s,
                             "iqn.evil:\xff\xfe"s,
                             "iqn.a\xc3"s,
                             "iqn.a\xed\xa0\x80"s,
                             "iqn.a\xe2\x80\xae"s /* turns direction */,
                             "iqn.a\xc2\xa0"s /* no-break space */,
                             "iqn.a\xef\xbb\xbf"s,
                             "iqn.a\xee\x80\x80"s,
                             "iqn.a\xef\xbf\xbd"s,
                             "iqn."s + std::string(220, 'a'),
                             "eui.02004567A425678"s,
                             "eui.02004567A425678G"s,
                             "naa.52004567BA64678D0"s}) {
        INFO(name);
        CHECK_FALSE(iscsi_name_fault(name).empty());
    }
    CHECK(is_iscsi_name("iqn." + std::string(219, 'a')));
}

TEST_CASE("initiator ports") {
    CHECK(is_initiator_port("iqn.x:y,i,0x400000000001"));
    for (const auto& port : {"iqn.x:y"s, "iqn.x:y,i,0x"s, "iqn.x:y,i,0x1234567890123"s,
                             "iqn.x:y,i,0x1g"s, "iqn.\xff,i,0x1"s, "iqn.x,i,0x1,i,0x1"s})
        CHECK_FALSE(is_initiator_port(port));
}
