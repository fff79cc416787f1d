#include "manager/api/link_standing.hpp"

#include <fmt/format.h>

namespace goldlink::manager::api {
namespace {

std::string text_member(const json::object& object, std::string_view name) {
    const auto text = json::optional_string(object, name, 4000);
    return text ? text->value_or("") : "";
}

// What is wrong with disks of a link that takes logins: storage that failed, damage.
std::optional<std::string> disk_problem(const json::object& live) {
    const json::value* const running = live.if_contains("running");
    if (running == nullptr || !running->is_array()) return std::nullopt;
    for (const json::value& disk : running->as_array()) {
        if (!disk.is_object()) continue;
        const std::string problem = text_member(disk.as_object(), "problem");
        const auto lun = json::optional_int(disk.as_object(), "lun", 0, 255);
        if (!problem.empty()) return fmt::format("LUN {}: {}", lun ? lun->value_or(0) : 0, problem);
    }
    return std::nullopt;
}

}  // namespace

LinkStanding standing_of(const db::Link& link, const LiveLink& live) {
    if (link.state != "ready") return {link.state, link.problem};
    if (!live && live.error().status == 404)
        return {"pending",
                "this manager's target does not have the link, so it is not served here; if that "
                "lasts, its server's manager does not lead, or the disks of this registry are on "
                "another target: goldlink registry show"};
    if (!live)
        return {"pending",
                fmt::format("whether it is served is not known, because {}; the link is kept",
                            live.error().detail)};
    const auto ready = json::optional_bool(*live, "ready");
    if (ready && !ready->value_or(true)) {
        const std::string problem = text_member(*live, "problem");
        return {"failed", problem.empty() ? "the target does not serve it yet" : problem};
    }
    return {"ready", link.problem ? link.problem : disk_problem(*live)};
}

}  // namespace goldlink::manager::api
