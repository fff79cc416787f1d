#include <catch2/catch.hpp>
#include <sstream>

#include "pxe/script.hpp"
#include "requests.hpp"

using namespace goldlink;
using namespace goldlink::pxe;

namespace {

ScriptFrame frame() {
    ScriptFrame f;
    f.http_base = "http://10.0.0.1:8081";
    f.mac = test::client_mac();
    f.uuid = "00112233-4455-6677-8899-aabbccddeeff";
    f.architecture = "bios";
    f.name = "PC-001";
    return f;
}

SanDisk disk() {
    SanDisk d;
    d.portal_host = "10.0.0.1";
    d.iqn = "iqn.2026-11.io.goldlink:pc-001";
    d.username = "boot-4";
    d.secret = "abcdefgh1234";
    d.initiator = "iqn.2026-11.io.goldlink.client:pc-001";
    d.same_subnet = true;
    return d;
}

std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> all;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) all.push_back(line);
    return all;
}

bool has_line(const std::string& text, std::string_view line) {
    const auto all = lines(text);
    return std::find(all.begin(), all.end(), line) != all.end();
}

// Every label a script jumps to is in it.
void check_labels(const std::string& script) {
    for (const std::string& line : lines(script)) {
        for (auto at = line.find("goto "); at != std::string::npos;
             at = line.find("goto ", at + 1)) {
            const std::string label = line.substr(at + 5, line.find(' ', at + 5) - at - 5);
            if (label.starts_with("${")) continue;
            INFO(label);
            CHECK(has_line(script, ":" + label));
        }
        if (line.starts_with("item ") && !line.starts_with("item --gap")) {
            const std::string label = line.substr(5, line.find(' ', 5) - 5);
            INFO(label);
            CHECK(has_line(script, ":" + label));
        }
    }
}

}  // namespace

TEST_CASE("a link's script sets iPXE up and starts the disk") {
    const auto script = link_script(frame(), disk());
    REQUIRE(script);
    CHECK(lines(*script)[0] == "#!ipxe");
    CHECK(has_line(*script, "set initiator-iqn iqn.2026-11.io.goldlink.client:pc-001"));
    CHECK(has_line(*script, "set username boot-4"));
    CHECK(has_line(*script, "set password abcdefgh1234"));
    CHECK(has_line(*script, "set netX/gateway 0.0.0.0"));
    CHECK(has_line(*script,
                   "sanboot --drive 0x80 iscsi:10.0.0.1::3260:0:iqn.2026-11.io.goldlink:pc-001 || "
                   "goto failed"));
    CHECK(script->find("/boot/failed?mac=52:54:00:00:00:01&stage=sanboot") != std::string::npos);
    CHECK(script->find("keep-san") == std::string::npos);
    check_labels(*script);
}

TEST_CASE("an installer is started from its disc, the disk attached as the first drive") {
    SanDisk install = disk();
    install.install_lun = 0x1f;
    const auto script = link_script(frame(), install);
    REQUIRE(script);
    const auto all = lines(*script);
    const auto at = [&](std::string_view line) {
        return std::find(all.begin(), all.end(), line) - all.begin();
    };
    const auto hook =
        at("sanhook --drive 0x80 iscsi:10.0.0.1::3260:0:iqn.2026-11.io.goldlink:pc-001 || "
           "goto failed");
    const auto boot =
        at("sanboot --no-describe --drive 0x81 "
           "iscsi:10.0.0.1::3260:1f:iqn.2026-11.io.goldlink:pc-001 || goto failed");
    const auto error = at("set goldlink-error ${errno}");
    const auto unhook = at("sanunhook --drive 0x80 ||");
    CHECK(hook + 1 == boot);
    CHECK(boot < error);
    CHECK(error + 1 == unhook);  // else the next try finds the drive taken
    CHECK(unhook < static_cast<std::ptrdiff_t>(all.size()));
    CHECK_FALSE(has_line(*script,
                         "sanboot --drive 0x80 iscsi:10.0.0.1::3260:0:"
                         "iqn.2026-11.io.goldlink:pc-001 || goto failed"));
    check_labels(*script);
    CHECK(link_script(frame(), disk())->find("sanhook") == std::string::npos);
    CHECK(link_script(frame(), disk())->find("sanunhook") == std::string::npos);
}

TEST_CASE("what does not apply is left out of the script") {
    SanDisk plain = disk();
    plain.username.clear();
    plain.secret.clear();
    plain.initiator.clear();
    plain.same_subnet = false;
    plain.lun = 0x1f;
    const auto script = link_script(frame(), plain);
    REQUIRE(script);
    for (const char* word : {"set username", "set password", "initiator-iqn", "gateway"})
        CHECK(script->find(word) == std::string::npos);
    CHECK(script->find("::3260:1f:iqn") != std::string::npos);  // LUNs are hexadecimal
}

TEST_CASE("no value from outside can add a line or a command to a script") {
    const std::string attacks[] = {"a\nexit",
                                   "a\rexit",
                                   "a exit",
                                   "a;exit",
                                   "${net0/mac}",
                                   "a||b",
                                   "a&&shell",
                                   "a#b",
                                   "-x",
                                   "a\\",
                                   "a\tb",
                                   "\"a\"",
                                   "a`b`",
                                   "",
                                   std::string(224, 'a'),
                                   std::string("a\0b", 3)};
    for (const std::string& attack : attacks) {
        INFO(attack);
        CHECK_FALSE(is_script_value(attack));
        for (std::string SanDisk::*field :
             {&SanDisk::portal_host, &SanDisk::iqn, &SanDisk::username, &SanDisk::secret,
              &SanDisk::initiator}) {
            SanDisk bad = disk();
            bad.*field = attack;
            if (attack.empty() && field == &SanDisk::initiator) continue;
            CHECK_FALSE(link_script(frame(), bad));
        }
        ScriptFrame named = frame();
        named.name = attack;
        const std::size_t expected = lines(link_script(frame(), disk()).value()).size();
        CHECK(lines(link_script(named, disk()).value()).size() == expected);
        const std::string trouble = trouble_script(named, attack, attack);
        const auto apart_from_reason = [](const std::string& script) {
            auto all = lines(script);
            std::erase_if(all,
                          [](const std::string& line) { return line.starts_with("item --gap"); });
            return all.size();
        };
        CHECK(apart_from_reason(trouble) == apart_from_reason(trouble_script(frame(), "x", "x")));
        CHECK(trouble.find("${net0") == std::string::npos);
    }
}

TEST_CASE("an IPv6 portal stands in brackets in the root path") {
    SanDisk v6 = disk();
    v6.portal_host = "[2001:db8::2]";
    v6.portal_port = 3261;
    const auto script = link_script(frame(), v6);
    REQUIRE(script);
    CHECK(script->find("iscsi:[2001:db8::2]::3261:0:" + v6.iqn + " ") != std::string::npos);
    for (const char* bad : {"[]", "[a b]", "[${x}]", "[2001:db8::2", "2001:db8::2]"}) {
        v6.portal_host = bad;
        CHECK_FALSE(link_script(frame(), v6));
    }
}

TEST_CASE("a secret that cannot be written is not quoted in the error") {
    SanDisk bad = disk();
    bad.secret = "top secret $";
    const auto script = link_script(frame(), bad);
    REQUIRE_FALSE(script);
    CHECK(script.error().message.find("top") == std::string::npos);
}

TEST_CASE("text for people is one line of plain words") {
    CHECK(plain_text("no link: assign an image") == "no link: assign an image");
    CHECK(plain_text("a\nb\r\n  c\t") == "a b c");
    CHECK(plain_text("${x} | y & z # ; \\") == "?{x} ? y ? z ? , /");
    CHECK(plain_text("-n --x a-b") == "~n ~-x a-b");
    CHECK(plain_text("M\xc3\xbcller") == "M??ller");
    CHECK(plain_text(std::string(1000, 'x'), 10) == "xxxxxxxxxx");
    CHECK(plain_text("").empty());
}

TEST_CASE("trouble is told on the screen, retried, and in the end given up for the local disk") {
    ScriptFrame f = frame();
    const std::string first =
        trouble_script(f, "the target does not answer", "it is down; start it");
    CHECK(
        has_line(first, "echo Goldlink: PC-001: the target does not answer: it is down, start it"));
    CHECK(has_line(first, "item --gap -- the target does not answer: it is down, start it"));
    CHECK(has_line(first, "set goldlink-default retry"));
    CHECK(first.find("&try=2 ||") != std::string::npos);
    CHECK(first.find("--timeout 10000 ") != std::string::npos);
    check_labels(first);
    f.try_number = kTriesBeforeLocal;
    CHECK(has_line(trouble_script(f, "a", "b"), "set goldlink-default local"));
    f.try_number = kMaxTry;
    CHECK(trouble_script(f, "a", "b").find("&try=9999 ||") != std::string::npos);
}

TEST_CASE("a long reason is broken into the menu's lines") {
    std::string words;
    for (int i = 0; i < 30; ++i) words += "reason ";
    const auto count_gaps = [](const std::string& script) {
        int gaps = 0;
        for (const std::string& line : lines(script)) {
            CHECK((!line.starts_with("item --gap") || line.size() <= 87));
            if (line.starts_with("item --gap ")) ++gaps;
        }
        return gaps;
    };
    const std::string script = trouble_script(frame(), "x", words);
    CHECK(count_gaps(script) == 3);
    CHECK(has_line(
        script,
        "item --gap -- reason reason reason reason reason reason reason reason reason reason"));
    CHECK(count_gaps(trouble_script(frame(), "x", std::string(300, 'y'))) == 6);
    CHECK(count_gaps(trouble_script(frame(), std::string(900, 'y'), std::string(900, 'y'))) == 8);
}

TEST_CASE("the local disk is left to UEFI, and started by hand on a BIOS") {
    const std::string script = local_script(frame());
    CHECK(has_line(script, "goto local"));
    CHECK(has_line(script, "iseq ${platform} efi && goto firmware ||"));
    CHECK(has_line(script, "sanboot --no-describe --drive 0x80 ||"));
    CHECK(has_line(script, "exit 1"));
    check_labels(script);
}

TEST_CASE("an unknown machine sees a menu that falls through to its local disk") {
    const std::string reported = unknown_script(frame(), UnknownPolicy::register_it, true);
    CHECK(reported.find("choose --default ${goldlink-default} --timeout 10000") !=
          std::string::npos);
    CHECK(has_line(reported, "set goldlink-default local"));
    CHECK(reported.find("52:54:00:00:00:01") != std::string::npos);
    CHECK(reported.find("register=1") == std::string::npos);
    check_labels(reported);

    const std::string asked = unknown_script(frame(), UnknownPolicy::ask, false);
    CHECK(asked.find("register=1") != std::string::npos);
    check_labels(asked);

    CHECK(unknown_script(frame(), UnknownPolicy::local, false) == local_script(frame()));
}
