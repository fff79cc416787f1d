// goldlink link set: what of a link can be changed while it is used.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "manager/cli/connect.hpp"
#include "manager/cli/link_disk.hpp"
#include "manager/cli/link_verbs.hpp"
#include "manager/cli/text.hpp"

namespace goldlink::cli {

namespace {

struct Arguments {
    std::string id, quota;
    std::optional<std::int64_t> lun;
    bool install = false;
    bool no_install = false;
};

Result<> set_link(const Session& session, const Arguments& arguments) {
    GOLDLINK_TRY_ASSIGN(auto api, connect(session));
    const bool starts = arguments.install || arguments.no_install;
    const std::int64_t lun = arguments.lun.value_or(0);
    json::object body;
    if (starts) body["install"] = arguments.install;
    if (!arguments.quota.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto quota, parse_quota(arguments.quota));
        body["quota_bytes"] = quota ? json::value(*quota) : json::value(nullptr);
        body["lun"] = lun;
    }
    GOLDLINK_TRY_ASSIGN(auto link, api.patch("/links/" + http::percent_encode(arguments.id), body));
    if (session.json) {
        print_json(link);
        return {};
    }
    if (starts)
        print(fmt::format("{} starts its {} at the next boot\n", arguments.id,
                          arguments.install ? "CD-ROM" : "disk"));
    for (const auto& disk : items_of(link, "disks"))
        if (body.contains("quota_bytes") && int_of(disk, "lun") == lun)
            print(fmt::format(
                "LUN {} of {} may take {} from now on\n", lun, arguments.id,
                has_value(disk, "quota_bytes")
                    ? format_bytes(static_cast<std::uint64_t>(int_of(disk, "quota_bytes")))
                    : "as much as its disk is large"));
    return {};
}

}  // namespace

void add_link_set(CLI::App& noun, Session& session) {
    const auto arguments = std::make_shared<Arguments>();
    auto* set = add_verb(
        noun, session,
        {"set", "Change what a client starts, or how much it may write",
         "A quota counts at once, also for a client that runs: one that is out of space goes on "
         "when it is\nraised.",
         "goldlink link set 3f0c... --no-install     the installer is done\n"
         "goldlink link set 3f0c... --quota 40G\n"
         "goldlink link set 3f0c... --quota none --lun 1"},
        [&session, arguments] { return set_link(session, *arguments); });
    set->add_option("ID", arguments->id, "The link's id: 'goldlink link ls'")->required();
    auto* what = set->add_option_group("what", "At least one of");
    auto* install =
        what->add_flag("--install", arguments->install, "Start the CD-ROM, with LUN 0 attached");
    what->add_flag("--no-install", arguments->no_install, "Start LUN 0")->excludes(install);
    auto* quota = what->add_option("--quota", arguments->quota,
                                   "What its overlay (write-back) may take, as 40G; none: as much "
                                   "as the disk is large")
                      ->type_name("BYTES")
                      ->check(check_quota);
    what->require_option(1, 2);
    set->add_option("--lun", arguments->lun, "Which disk's quota; LUN 0's without it")
        ->type_name("LUN")
        ->check(CLI::Range(0, 255))
        ->needs(quota);
}

}  // namespace goldlink::cli
