// The iPXE scripts we answer /boot with. Pure: values in, text out.
//
// iPXE splits a line at white space, expands ${...}, and takes || && ; # and a leading dash as its
// own. So nothing that came from outside enters a script as it is: what iPXE acts on must pass
// is_script_value(), what a person only reads goes through plain_text().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/mac.hpp"
#include "common/result.hpp"
#include "pxe/table.hpp"

namespace goldlink::pxe {

// From this try on a machine that cannot start its disk falls through to the local disk by itself.
inline constexpr unsigned kTriesBeforeLocal = 5;
inline constexpr unsigned kMaxTry = 9999;

struct ScriptFrame {
    std::string http_base;  // passed check_http_base(), or made by us
    Mac mac;
    std::string uuid;          // "" or passed is_uuid()
    std::string architecture;  // "" or a name of the architecture table
    std::string name;          // what to call the machine: its name, or its MAC
    unsigned menu_timeout_seconds = 10;
    unsigned try_number = 1;  // 1 at first
};

struct SanDisk {
    std::string portal_host;  // IPv4 address, IPv6 address in brackets, or plain name
    std::uint16_t portal_port = 3260;
    std::uint64_t lun = 0;
    std::string iqn;
    std::string username;  // both empty: the target asks for no CHAP
    std::string secret;
    std::string initiator;                          // "": iPXE's own
    bool same_subnet = false;                       // then the iBFT must name no gateway
    std::optional<std::uint16_t> install_lun = {};  // a CD-ROM to start in place of the disk
};

// Starts the disk, or the installer with the disk attached; when that fails, reports it and offers
// to try again or to start the local disk. Errors: invalid, naming the value that iPXE cannot take.
Result<std::string> link_script(const ScriptFrame& frame, const SanDisk& disk);
// Says why there is no disk to start, then the same menu.
std::string trouble_script(const ScriptFrame& frame, std::string_view what, std::string_view why);
// Starts the local disk at once.
std::string local_script(const ScriptFrame& frame);
// The menu of a machine that is in no table. `reported`: the manager has been told of it.
std::string unknown_script(const ScriptFrame& frame, UnknownPolicy policy, bool reported);

// Letters, digits and . _ : @ / + = , - and not led by a dash; 1 to 223 bytes (the longest IQN).
bool is_script_value(std::string_view text);
// Printable ASCII on one line, without what iPXE would act on, at most max_bytes.
std::string plain_text(std::string_view text, std::size_t max_bytes = 300);

}  // namespace goldlink::pxe
