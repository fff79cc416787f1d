#include "pxe/script.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/check.hpp"

namespace goldlink::pxe {

namespace {

std::string boot_url(const ScriptFrame& frame, std::string_view more) {
    std::string url = fmt::format("{}/boot?mac={}", frame.http_base, frame.mac.to_string());
    if (!frame.architecture.empty()) url += "&arch=" + frame.architecture;
    if (!frame.uuid.empty()) url += "&uuid=" + frame.uuid;
    return url.append(more);
}

std::string opening(const ScriptFrame& frame) {
    CHECK(check_http_base(frame.http_base).has_value(), "the frame's URL was checked");
    return fmt::format("#!ipxe\n# Goldlink, machine {}\n", frame.mac.to_string());
}

constexpr std::size_t kMenuColumns = 72;
constexpr std::size_t kMaxMenuLines = 8;

struct Item {
    std::string_view label;
    std::string_view said;
};

// The menu clears the screen, so what is to be read stands in it, broken into lines. Jumps to where
// `chosen` says; a key ends the countdown, Esc and a lost console mean the default.
std::string menu(const ScriptFrame& frame, std::string_view title, std::string_view reason,
                 std::initializer_list<Item> items) {
    std::string text = fmt::format(":menu\nmenu Goldlink: {}\n", plain_text(title, 60));
    std::string_view rest = reason;
    for (std::size_t line = 0; line < kMaxMenuLines && !rest.empty(); ++line) {
        std::size_t length = std::min(rest.size(), kMenuColumns);
        if (length < rest.size())
            if (const auto space = rest.rfind(' ', length); space != 0 && space != rest.npos)
                length = space;
        text += fmt::format("item --gap -- {}\n", rest.substr(0, length));
        rest.remove_prefix(length);
        rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    }
    text += "item --gap\n";
    for (const Item& item : items) text += fmt::format("item {} {}\n", item.label, item.said);
    text += fmt::format(
        "choose --default ${{goldlink-default}} --timeout {} chosen || "
        "goto ${{goldlink-default}}\ngoto ${{chosen}}\n",
        frame.menu_timeout_seconds * 1000);
    return text;
}

// The labels every script ends with: `retry` asks for a new script; when the server is silent the
// menu comes again, now heading for the local disk. `local` leaves iPXE for the local disk: UEFI
// takes the next entry of its boot order when a boot program fails, a BIOS is best given the drive.
std::string closing(const ScriptFrame& frame, std::string_view when_unreachable) {
    const std::string again =
        boot_url(frame, fmt::format("&try={}", std::min(frame.try_number + 1, kMaxTry)));
    return fmt::format(
        ":retry\n"
        "echo Goldlink: asking the server again\n"
        "chain --replace --autofree {} ||\n"
        "echo Goldlink: the server {} does not answer\n"
        "set goldlink-default local\n"
        "sleep 5\n"
        "goto {}\n"
        ":local\n"
        "echo Goldlink: starting from the local disk\n"
        "iseq ${{platform}} efi && goto firmware ||\n"
        "sanboot --no-describe --drive 0x80 ||\n"
        "echo Goldlink: there is no local disk to start from; asking the server again in 10 "
        "seconds\n"
        "sleep 10\n"
        "goto retry\n"
        ":firmware\n"
        "exit 1\n",
        again, frame.http_base, when_unreachable);
}

// `reason` is plain text, or a setting of iPXE's that is expanded there.
std::string trouble_menu(const ScriptFrame& frame, std::string_view reason) {
    return fmt::format("set goldlink-default {}\n",
                       frame.try_number < kTriesBeforeLocal ? "retry" : "local") +
           menu(frame, fmt::format("{} has not started its disk", frame.name), reason,
                {{"retry", "Try again"}, {"local", "Start from the local disk"}}) +
           closing(frame, "menu");
}

std::string uri(const SanDisk& disk, std::uint64_t lun) {
    return fmt::format("iscsi:{}::{}:{:x}:{}", disk.portal_host, disk.portal_port, lun, disk.iqn);
}

// An installer finds the disk as the first drive, 0x80, and in the iBFT; the disc it comes from is
// the second drive and is not described there.
std::string start_commands(const SanDisk& disk) {
    const std::string system = uri(disk, disk.lun);
    if (!disk.install_lun)
        return fmt::format("sanboot --drive 0x80 {} || goto failed\n:failed\n", system);
    return fmt::format(
        "sanhook --drive 0x80 {} || goto failed\n"
        "sanboot --no-describe --drive 0x81 {} || goto failed\n:failed\n",
        system, uri(disk, *disk.install_lun));
}

// The next try attaches the disk again, which a drive that still has it would refuse.
std::string failure_commands(const SanDisk& disk) {
    return std::string("set goldlink-error ${errno}\n") +
           (disk.install_lun ? "sanunhook --drive 0x80 ||\n" : "");
}

Result<> need_value(std::string_view text, std::string_view what) {
    if (is_script_value(text)) return {};
    return failure(ErrorKind::invalid,
                   fmt::format("the {} \"{}\" has characters that iPXE cannot take; use letters, "
                               "digits and . _ : @ / + = , -",
                               what, plain_text(text, 64)));
}

// iPXE takes an IPv6 address in brackets where the parts of a root path are parted by colons.
std::string_view without_brackets(std::string_view host) {
    const bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
    return v6 ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

bool is_script_value(std::string_view text) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("._:@/+=,-").find(c) != std::string_view::npos;
    };
    return !text.empty() && text.size() <= 223 && text[0] != '-' &&
           std::all_of(text.begin(), text.end(), allowed);
}

std::string plain_text(std::string_view text, std::size_t max_bytes) {
    std::string plain;
    bool word_begins = true;
    for (const char c : text.substr(0, max_bytes)) {
        const bool printable = c > 0x20 && c < 0x7f;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            if (!word_begins) plain.push_back(' ');
            word_begins = true;
            continue;
        }
        if (!printable || std::string_view("$|&#").find(c) != std::string_view::npos)
            plain.push_back('?');
        else if (c == ';')
            plain.push_back(',');
        else if (c == '\\')
            plain.push_back('/');
        else if (c == '-' && word_begins)
            plain.push_back('~');
        else
            plain.push_back(c);
        word_begins = false;
    }
    while (plain.ends_with(' ')) plain.pop_back();
    return plain;
}

Result<std::string> link_script(const ScriptFrame& frame, const SanDisk& disk) {
    GOLDLINK_TRY(need_value(without_brackets(disk.portal_host), "portal"));
    GOLDLINK_TRY(need_value(disk.iqn, "target name"));
    std::string text = opening(frame);
    const std::string name = plain_text(frame.name, 100);
    text += fmt::format("echo Goldlink: {} starts its disk {}\n", name, disk.iqn);
    if (!disk.initiator.empty()) {
        GOLDLINK_TRY(need_value(disk.initiator, "initiator name"));
        text += fmt::format("set initiator-iqn {}\n", disk.initiator);
    }
    if (!disk.username.empty() || !disk.secret.empty()) {
        GOLDLINK_TRY(need_value(disk.username, "CHAP user name"));
        if (!is_script_value(disk.secret))
            return failure(ErrorKind::invalid,
                           "the CHAP secret has characters that iPXE cannot take");
        text += fmt::format("set username {}\nset password {}\n", disk.username, disk.secret);
    }
    // Windows would pin its route to the target through the iBFT's gateway.
    if (disk.same_subnet) text += "set netX/gateway 0.0.0.0\n";
    text += start_commands(disk);
    text += fmt::format(
        "{}"
        "imgfetch --timeout 5000 --name goldlink-report "
        "{}/boot/failed?mac={}&stage=sanboot&error=${{goldlink-error}} && "
        "imgfree goldlink-report ||\n",
        failure_commands(disk), frame.http_base, frame.mac.to_string());
    return text +
           trouble_menu(frame, fmt::format("The disk at {} port {} could not be started: iPXE "
                                           "error ${{goldlink-error}}",
                                           disk.portal_host, disk.portal_port));
}

std::string trouble_script(const ScriptFrame& frame, std::string_view what, std::string_view why) {
    const std::string reason = fmt::format("{}: {}", plain_text(what, 200), plain_text(why, 400));
    return opening(frame) +
           fmt::format("echo Goldlink: {}: {}\n", plain_text(frame.name, 100), reason) +
           trouble_menu(frame, reason);
}

std::string local_script(const ScriptFrame& frame) {
    return opening(frame) + "goto local\n" + closing(frame, "local");
}

std::string unknown_script(const ScriptFrame& frame, UnknownPolicy policy, bool reported) {
    if (policy == UnknownPolicy::local) return local_script(frame);
    const std::string mac = frame.mac.to_string();
    std::string text = opening(frame);
    const std::string said = fmt::format("This machine ({}) is not registered.", mac);
    text += fmt::format("echo Goldlink: {}\nset goldlink-default local\n", said);
    if (reported) {
        text +=
            menu(frame, "new machine",
                 said + " It is now on the list of new machines: approve it there, then try again.",
                 {{"local", "Start from the local disk"}, {"retry", "Try again"}});
    } else {
        text += menu(frame, "unknown machine", said,
                     {{"local", "Start from the local disk"},
                      {"register", "Put this machine on the list of new machines"}});
        text += fmt::format(":register\nchain --replace --autofree {} || goto retry\n",
                            boot_url(frame, "&try=2&register=1"));
    }
    return text + closing(frame, "menu");
}

}  // namespace goldlink::pxe
