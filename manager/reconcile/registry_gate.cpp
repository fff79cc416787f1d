#include "manager/reconcile/registry_gate.hpp"

#include <fmt/format.h>

#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/db/links.hpp"
#include "manager/registry_problem.hpp"
#include "manager/target_links.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::seconds;

constexpr seconds kAskEvery{30};
constexpr seconds kAskAgain{2};  // while it is closed
constexpr seconds kTimeout{5};

}  // namespace

Result<bool> RegistryGate::open(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const auto identity, db::registry_identity(c));
    GOLDLINK_TRY_ASSIGN(const std::int64_t revision, db::registry_revision(c));
    // A database that was exchanged or set back under a manager that leads.
    const bool same = passed_ && identity.mark == mark_ && revision >= revision_;
    if (!same) passed_ = false;
    if (same && !identity.adopt_requested && Clock::now() - asked_ < kAskEvery) {
        revision_ = revision;
        return true;
    }
    return ask(c, identity, revision);
}

PeerResult<RegistryGate::Said> RegistryGate::call(const std::string& method,
                                                  const std::string& body) {
    const auto answer = services_.target.call(method, "/registry", body, kTimeout);
    if (!answer) return tl::unexpected(answer.error());
    Said said;
    const auto read = [&]() -> Result<> {
        GOLDLINK_TRY_ASSIGN(const json::object o, json::parse_object(*answer));
        GOLDLINK_TRY_ASSIGN(said.target_id, json::string_field(o, "target_id", 36, 36));
        GOLDLINK_TRY_ASSIGN(said.revision, json::int_field(o, "revision", 0, INT64_MAX));
        GOLDLINK_TRY_ASSIGN(const auto match, json::optional_string(o, "match", 32));
        said.match = match.value_or("");
        return {};
    };
    if (const auto fine = read(); !fine)
        return tl::unexpected(PeerError{
            0, "", "the target does not say which registry it follows: " + fine.error().message});
    return said;
}

std::string RegistryGate::offer(const db::RegistryIdentity& identity, std::int64_t revision,
                                bool adopt) {
    json::object body{{"id", identity.id},
                      {"mark", identity.mark},
                      {"previous_mark", nullptr},
                      {"revision", revision},
                      {"adopt", adopt}};
    if (identity.previous_mark) body["previous_mark"] = *identity.previous_mark;
    return json::serialize(body);
}

Result<bool> RegistryGate::ask(db::Connection& c, db::RegistryIdentity identity,
                               std::int64_t revision) {
    next_try_ = Clock::now() + kAskAgain;
    const auto target = call("GET", "");
    // A target that is away changes nothing of what is known.
    if (!target) return passed_;
    const bool adopting = identity.adopt_requested;
    if (!adopting && identity.target_id && *identity.target_id != target->target_id)
        return closed(c, "elsewhere");
    if (adopting && target->revision > revision) {
        GOLDLINK_TRY(db::raise_revision(c, target->revision));
        GOLDLINK_TRY_ASSIGN(revision, db::registry_revision(c));
    }
    const auto said = call("PUT", offer(identity, revision, adopting));
    if (!said) return passed_;
    if (said->match != "own") return closed(c, said->match);
    if (identity.target_id != said->target_id) GOLDLINK_TRY(db::bind_registry(c, said->target_id));
    if (adopting) {
        GOLDLINK_TRY(adopt(c));
        adopted_ = true;
    }
    if (!passed_) {
        GOLDLINK_TRY(db::renew_mark(c, identity.mark));
        GOLDLINK_TRY_ASSIGN(identity, db::registry_identity(c));
        const auto renewed = call("PUT", offer(identity, revision, false));
        if (!renewed) return false;
        if (renewed->match != "own") return closed(c, renewed->match);
    }
    GOLDLINK_TRY(db::set_registry_match(c, "own"));
    if (!said_.empty()) log::info("the target takes this database for its registry");
    said_.clear();
    passed_ = true;
    elsewhere_ = false;
    mark_ = identity.mark;
    revision_ = revision;
    asked_ = Clock::now();
    next_try_ = asked_ + kAskEvery;
    return true;
}

Result<bool> RegistryGate::closed(db::Connection& c, const std::string& match) {
    passed_ = false;
    elsewhere_ = match == "elsewhere";
    GOLDLINK_TRY(db::set_registry_match(c, match));
    if (std::string problem = registry_problem(match); problem != said_) {
        log::error("{}", problem);
        said_ = std::move(problem);
    }
    return false;
}

// What the target has beyond this registry was another one's, and goes: kept disks into the trash.
Result<> RegistryGate::adopt(db::Connection& c) {
    const auto held = target_links(services_.target, kTimeout);
    if (!held) {
        log::warn(
            "the registry is adopted; links that it does not have stay at the target, as it "
            "does not list them: {}",
            held.error().detail);
        return db::request_adoption(c, false);
    }
    for (const auto& [id, link] : *held) GOLDLINK_TRY(db::add_link_removal(c, id));
    log::info("this database is the target's registry from now on, as a person said");
    return db::request_adoption(c, false);
}

}  // namespace goldlink::manager
