#include "manager/health.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/http/live.hpp"
#include "common/json.hpp"
#include "manager/registry_problem.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::seconds;

constexpr seconds kPoolMayBeFull{2};       // as under load: connections come back all the time
constexpr seconds kLeaderMayBeSilent{20};  // another takes over within 15 s
constexpr seconds kDaemonTimeout{2};
constexpr seconds kLiveTimeout{4};  // the daemons answer it within 3 s

// What a daemon says of itself, once it is known that it does its work, too.
PeerResult<std::string> if_live(const Peer& peer, PeerResult<std::string> status) {
    if (!status) return status;
    const auto live = peer.call("GET", "/live", "", kLiveTimeout);
    if (live || (!live.error().no_answer() && live.error().type != http::kNotLive)) return status;
    return tl::unexpected(PeerError{0, "",
                                    fmt::format("the {} hangs, though it can be reached: {}",
                                                peer.name(), live.error().detail)});
}

PeerResult<std::string> silent(std::string_view name) {
    return tl::unexpected(
        PeerError{0, "",
                  fmt::format("the {} does not answer: nothing came within {} s; it hangs, or its "
                              "machine does",
                              name, Health::kWait.count() / 1000)});
}

// Whether this manager's target takes this database for its registry. What was noted last may be
// another server's manager's finding.
std::string add_registry(HealthReport& report, const db::RegistryIdentity& registry,
                         const json::object& target) {
    std::string match = registry.match;
    if (const auto id = json::optional_string(target, "target_id", 64);
        id && *id && registry.target_id && **id != *registry.target_id)
        match = "elsewhere";
    std::string problem = registry_problem(match);
    if (problem.empty()) return "ok";
    report.problems.push_back(registry_finding(match));
    return problem;
}

std::string add_daemon(HealthReport& report, const std::string& name,
                       PeerResult<std::string>& status,
                       std::optional<PeerResult<std::string>> answer) {
    status = answer ? std::move(*answer) : silent(name);
    if (status) return "ok";
    report.problems.push_back(daemon_finding(name, status.error().detail));
    return status.error().detail;
}

void add_all(HealthReport& report, std::vector<Finding> findings) {
    for (Finding& finding : findings) report.problems.push_back(std::move(finding));
}

json::object object_of(const PeerResult<std::string>& status) {
    if (!status) return {};
    auto object = json::parse_object(*status);
    return object ? std::move(*object) : json::object();
}

}  // namespace

bool HealthReport::is_degraded() const { return std::ranges::any_of(problems, is_degrading); }

bool HealthReport::is_outage() const {
    return std::ranges::any_of(problems,
                               [](const Finding& one) { return manager::is_outage(one); });
}

Health::Health(db::Pool& pool, const Watch& watch, const Peer& target, TargetStatus& target_status,
               const Peer* pxe)
    : pool_(pool),
      watch_(watch),
      database_([this] { return ask_database(); }),
      target_([&target, &target_status] { return if_live(target, target_status.get()); }) {
    if (pxe != nullptr)
        pxe_.emplace(
            [pxe] { return if_live(*pxe, pxe->call("GET", "/status", "", kDaemonTimeout)); });
}

// On a connection of its own: whether new ones can be made is part of the answer.
Result<Health::DatabaseSaid> Health::ask_database() {
    GOLDLINK_TRY_ASSIGN(db::Connection connection, pool_.connect({kWait, kWait}));
    DatabaseSaid said;
    GOLDLINK_TRY_ASSIGN(said.registry, db::registry_identity(connection));
    GOLDLINK_TRY_ASSIGN(said.links, db::link_trouble(connection));
    GOLDLINK_TRY_ASSIGN(said.leader, db::leader_beat(connection));
    return said;
}

HealthReport Health::report() {
    const auto entered = Clock::now();
    const auto until = entered + kWait;
    const auto down = watch_.problem();
    if (!down) database_.want(entered);
    target_.want(entered);
    if (pxe_) pxe_->want(entered);

    HealthReport report;
    const auto said = down ? std::nullopt : add_database(report, entered);
    if (down) {
        report.database = *down;
        report.problems.push_back(database_finding(*down));
    }
    report.target = add_daemon(report, "target", report.target_status, target_.get(entered, until));
    report.pxe =
        pxe_ ? add_daemon(report, "pxe", report.pxe_status, pxe_->get(entered, until)) : "off";

    const json::object target = object_of(report.target_status);
    report.registry = said ? add_registry(report, said->registry, target) : "unknown";
    if (said && said->leader.age_seconds > kLeaderMayBeSilent.count())
        report.problems.push_back(leader_finding(said->leader));
    const bool knows_links = said && said->links.failed > 0;
    if (knows_links) report.problems.push_back(links_finding(said->links));
    add_all(report, findings_of(target, knows_links ? "links" : ""));
    add_all(report, findings_of(object_of(report.pxe_status), ""));
    return report;
}

std::optional<Health::DatabaseSaid> Health::add_database(HealthReport& report,
                                                         Clock::time_point entered) {
    const auto answer = database_.get(entered, entered + kWait);
    report.database = "ok";
    if (!answer)
        report.database = fmt::format("PostgreSQL does not answer: nothing came within {} s",
                                      kWait.count() / 1000);
    else if (!*answer)
        report.database = answer->error().message;
    if (report.database != "ok") report.problems.push_back(database_finding(report.database));
    if (const auto since = pool_.used_up_since()) {
        const auto waited = std::chrono::duration_cast<seconds>(Clock::now() - *since);
        if (waited >= kPoolMayBeFull) {
            report.problems.push_back(pool_finding(pool_.max_connections(), waited));
            if (report.database == "ok") report.database = report.problems.back().problem;
        }
    }
    if (!answer || !*answer) return std::nullopt;
    return **answer;
}

}  // namespace goldlink::manager
