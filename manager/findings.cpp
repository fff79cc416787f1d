#include "manager/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "manager/registry_problem.hpp"

namespace goldlink::manager {
namespace {

constexpr std::string_view kGoesOn = "PCs run and boot on meanwhile";

// PostgreSQL's words for having no connection left (53300), and those of poolers before it.
bool is_used_up(std::string_view problem) {
    constexpr std::array<std::string_view, 3> kWords{"too many clients", "connection slots",
                                                     "too many connections"};
    return std::ranges::any_of(kWords, [&](std::string_view words) {
        return problem.find(words) != std::string_view::npos;
    });
}

std::string member_text(const json::object& object, std::string_view name) {
    const auto text = json::optional_string(object, name, 4000);
    return text ? text->value_or("") : "";
}

}  // namespace

bool is_degrading(const Finding& finding) { return finding.source != "state"; }

bool is_outage(const Finding& finding) { return is_degrading(finding) && !finding.rest_serves; }

Finding database_finding(const std::string& problem) {
    if (is_used_up(problem))
        return {"database",
                fmt::format("PostgreSQL's connections are used up, so changes fail: {}", problem),
                fmt::format("see who holds them (SELECT usename, application_name, client_addr, "
                            "count(*) FROM pg_stat_activity GROUP BY 1, 2, 3) and end those, or "
                            "raise max_connections; {}",
                            kGoesOn)};
    return {"database", fmt::format("the database does not serve: {}", problem),
            fmt::format("see that PostgreSQL's machine, disk and log are well (pg_isready), and "
                        "restart it if it hangs; the manager goes on by itself when it answers. {}",
                        kGoesOn)};
}

Finding pool_finding(unsigned connections, std::chrono::seconds since) {
    return {"database",
            fmt::format("all {} database connections of this manager have been in use for {} s, so "
                        "requests wait for one",
                        connections, since.count()),
            "see what holds its statements up (SELECT pid, state, wait_event, query FROM "
            "pg_stat_activity WHERE application_name = 'goldlink-manager'), and end the statement "
            "or lock that they wait for (pg_terminate_backend)"};
}

Finding daemon_finding(const std::string& name, const std::string& problem) {
    const bool serves_disks = name == "target";
    return {
        name, problem,
        fmt::format("'goldlink up' starts it again by itself; if it stays away, its log says "
                    "why (journalctl -u goldlink, or goldlink-{}'s own service). Until then {}",
                    name, serves_disks ? "no disk is served" : "no PC starts from the network")};
}

Finding registry_finding(std::string_view match) {
    return {"registry",
            fmt::format("{}. {}, and nothing is changed at the target", registry_mismatch(match),
                        kGoesOn),
            std::string(registry_advice())};
}

Finding leader_finding(const db::LeaderBeat& leader) {
    return {"manager",
            fmt::format("no manager leads, so changes reach no PC: the last one ({}) gave its last "
                        "sign {} s ago",
                        leader.holder.empty() ? "none yet" : leader.holder, leader.age_seconds),
            "see in the managers' logs why none takes over (journalctl -u goldlink); the manager "
            "of the server that has the disks must run"};
}

Finding links_finding(const db::LinkTrouble& trouble) {
    std::string named;
    for (const auto& [name, problem] : trouble.first)
        named += fmt::format("{}{} ({})", named.empty() ? "" : "; ", name, problem);
    const auto others = trouble.failed - static_cast<std::int64_t>(trouble.first.size());
    if (others > 0) named += fmt::format("; and {} more", others);
    return {"links",
            trouble.failed == trouble.total
                ? fmt::format("none of the {} links is served: {}", trouble.total, named)
                : fmt::format("{} of {} links are not served: {}", trouble.failed, trouble.total,
                              named),
            "'goldlink link ls' shows them, 'goldlink link show LINK' what each needs",
            trouble.failed < trouble.total};
}

std::vector<Finding> findings_of(const json::object& status, std::string_view skip) {
    std::vector<Finding> found;
    if (const auto list = json::array_field(status, "problems", 1000); list)
        for (const json::value& item : *list) {
            if (!item.is_object()) continue;
            const json::object& problem = item.as_object();
            const std::string area = member_text(problem, "area");
            if (area.empty() || area == skip) continue;
            found.push_back({area, member_text(problem, "message"), member_text(problem, "advice"),
                             area == "links"});
        }
    if (const json::value* const store = status.if_contains("store");
        store != nullptr && store->is_object())
        if (std::string problem = member_text(store->as_object(), "problem"); !problem.empty())
            found.push_back(
                {"store", fmt::format("the image store cannot be used as it should: {}", problem),
                 "mount or mend what that names; the target tries again by itself"});
    if (std::string problem = member_text(status, "state_problem"); !problem.empty())
        found.push_back({"links", fmt::format("the target has lost its list of links: {}", problem),
                         "see that the manager reaches its database and leads (goldlink status); "
                         "or give the file back and start the target again"});
    return found;
}

}  // namespace goldlink::manager
