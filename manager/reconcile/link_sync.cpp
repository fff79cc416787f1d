#include "manager/reconcile/link_sync.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/db/history.hpp"
#include "manager/db/links.hpp"
#include "manager/target_links.hpp"

namespace goldlink::manager {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kCompareEvery{30};
constexpr seconds kRetryTrouble{5};
constexpr milliseconds kFirstBackoff{250};
constexpr milliseconds kMaxBackoff{5000};
// A client without a session for this long is off; within it its OS may still reconnect.
constexpr seconds kIdleEndsBoot{75};

json::object disk_json(const db::DesiredDisk& disk) {
    json::object o{{"lun", disk.lun}, {"version", disk.digest}, {"policy", disk.policy}};
    o["quota_bytes"] = disk.quota_bytes ? json::value(*disk.quota_bytes) : json::value(nullptr);
    if (disk.kind == "iso")
        o["type"] = "cdrom";
    else
        o["logical_block_bytes"] = disk.logical_block_bytes;
    return o;
}

}  // namespace

void LinkSync::forget() {
    done_revision_ = -1;
    compare_ = true;
    known_.clear();
    idle_since_.clear();
    next_try_ = {};
}

Result<LinkSync::WantedLinks> LinkSync::read_wanted(db::Connection& c) {
    GOLDLINK_TRY_ASSIGN(const auto disks, db::desired_disks(c));
    WantedLinks wanted;
    for (std::size_t i = 0; i < disks.size();) {
        const db::DesiredDisk& first = disks[i];
        json::array list;
        for (; i < disks.size() && disks[i].link_id == first.link_id; ++i)
            list.push_back(disk_json(disks[i]));
        json::object credential{{"username", first.username},
                                {"secret", first.secret},
                                {"mutual_username", nullptr},
                                {"mutual_secret", nullptr}};
        json::array credentials;
        credentials.push_back(std::move(credential));
        // All pushes of a round carry the registry's own revision: the target refuses older ones.
        wanted[first.link_id] = {
            json::serialize(json::object{{"id", first.link_id},
                                         {"revision", pushing_revision_},
                                         {"iqn", first.iqn},
                                         {"alias", first.alias},
                                         {"disks", std::move(list)},
                                         {"credentials", std::move(credentials)},
                                         {"allowed_initiators", json::array{}}}),
            first.revision, first.applied_revision};
    }
    return wanted;
}

Result<> LinkSync::round(db::Connection& c, bool& in_doubt) {
    GOLDLINK_TRY_ASSIGN(const std::int64_t revision, db::registry_revision(c));
    const bool due = Clock::now() >= next_try_;
    if (away_ && !due) return {};
    if (!due && revision == done_revision_) return {};
    if (due) compare_ = true;

    pushing_revision_ = revision;
    GOLDLINK_TRY_ASSIGN(const WantedLinks wanted, read_wanted(c));
    trouble_ = false;
    away_ = false;
    if (compare_) {
        GOLDLINK_TRY(compare_all(c, wanted, in_doubt));
        if (in_doubt) return {};
    } else {
        GOLDLINK_TRY(remove_deleted(c, wanted));
        for (const auto& [id, link] : wanted)
            if (!away_ && link.applied_revision != link.revision) GOLDLINK_TRY(push(c, id, link));
    }
    if (away_) {
        compare_ = true;
        backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kMaxBackoff);
        next_try_ = Clock::now() + backoff_;
        return note_waiting(c, wanted,
                            "the target does not answer; the link is kept and served when it is "
                            "back");
    }
    backoff_ = milliseconds(0);
    // Pushing changes does not put the comparison off: under steady change it still comes.
    if (compare_ || trouble_) next_try_ = Clock::now() + (trouble_ ? kRetryTrouble : kCompareEvery);
    compare_ = false;
    done_revision_ = revision;
    return {};
}

Result<> LinkSync::compare_all(db::Connection& c, const WantedLinks& wanted, bool& in_doubt) {
    const auto answer = target_links(services_.target, seconds(10));
    if (!answer) {
        away_ = true;
        if (!answer.error().no_answer())
            log::warn("the target does not list its links: {}", answer.error().detail);
        return {};
    }
    std::map<std::string, Held> held;
    std::int64_t newest = 0;
    for (const auto& [id, link] : *answer) {
        Held& state = held[id];
        if (const auto ready = json::optional_bool(link, "ready"); ready)
            state.ready = ready->value_or(false);
        if (const auto problem = json::optional_string(link, "problem", 4000); problem)
            state.problem = problem->value_or("");
        if (const auto number = json::optional_int(link, "revision", 0, INT64_MAX); number)
            state.revision = number->value_or(0);
        if (const auto sessions = json::array_field(link, "sessions", 100'000); sessions)
            state.in_use = !sessions->empty();
        newest = std::max(newest, state.revision);
    }
    if (newest > pushing_revision_) {
        // Not the database that pushed it, or an earlier state of it.
        in_doubt = true;
        return {};
    }
    known_.clear();
    for (const auto& [id, state] : held) known_.insert(id);
    GOLDLINK_TRY(remove_deleted(c, wanted));
    for (const auto& [id, link] : wanted) {
        if (away_) break;
        const auto found = held.find(id);
        // A link the target lost, or never took in this form, is pushed; the others are looked at.
        if (found == held.end() || link.applied_revision != link.revision) {
            GOLDLINK_TRY(push(c, id, link));
        } else {
            GOLDLINK_TRY(note(c, id, link, found->second));
        }
    }
    return follow_uses(c, held);
}

Result<> LinkSync::remove_deleted(db::Connection& c, const WantedLinks& wanted) {
    GOLDLINK_TRY_ASSIGN(const auto removals, db::link_removals(c));
    for (const db::LinkRemoval& removal : removals) {
        if (away_) break;
        const bool is_gone = wanted.contains(removal.link_id) ||  // restored since
                             !known_.contains(removal.link_id) || remove(removal);
        if (is_gone) GOLDLINK_TRY(db::forget_link_removal(c, removal.link_id));
    }
    return {};
}

Result<> LinkSync::push(db::Connection& c, const std::string& id, const Wanted& wanted) {
    const auto answer = services_.target.call("PUT", "/links/" + id, wanted.body, seconds(15));
    if (!answer) {
        const PeerError& error = answer.error();
        if (error.no_answer() || error.status == 503) {
            away_ = true;
            return {};
        }
        trouble_ = true;
        if (error.type == "stale-revision") {
            // Somebody pushed a newer registry meanwhile; the comparison finds out.
            compare_ = true;
            return {};
        }
        log::warn("the target refuses link {}: {}", id, error.detail);
        return db::set_link_state(c, id, wanted.revision, "failed", error.detail);
    }
    known_.insert(id);
    Held held{true, "", false, 0};
    if (const auto object = json::parse_object(*answer)) {
        if (const auto ready = json::optional_bool(*object, "ready"); ready)
            held.ready = ready->value_or(true);
        if (const auto problem = json::optional_string(*object, "problem", 4000); problem)
            held.problem = problem->value_or("");
    }
    return note(c, id, wanted, held);
}

Result<> LinkSync::note(db::Connection& c, const std::string& id, const Wanted& wanted,
                        const Held& held) {
    if (held.ready) return db::set_link_state(c, id, wanted.revision, "ready", std::nullopt);
    trouble_ = true;
    return db::set_link_state(
        c, id, wanted.revision, "failed",
        held.problem.empty() ? "the target does not serve it yet" : held.problem);
}

bool LinkSync::remove(const db::LinkRemoval& removal) {
    const auto answer =
        services_.target.call("DELETE",
                              fmt::format("/links/{}?revision={}&trash={}", removal.link_id,
                                          pushing_revision_, removal.to_trash),
                              "", seconds(15));
    if (answer || answer.error().status == 404) {
        known_.erase(removal.link_id);
        return true;
    }
    if (answer.error().no_answer()) {
        away_ = true;
        return false;
    }
    trouble_ = true;
    log::warn("the target does not remove link {}: {}", removal.link_id, answer.error().detail);
    return false;
}

Result<> LinkSync::hold_back(db::Connection& c, const std::string& why) {
    forget();
    GOLDLINK_TRY_ASSIGN(const WantedLinks wanted, read_wanted(c));
    return note_waiting(c, wanted, why);
}

Result<> LinkSync::note_waiting(db::Connection& c, const WantedLinks& wanted,
                                const std::string& why) {
    for (const auto& [id, link] : wanted)
        if (link.applied_revision != link.revision)
            GOLDLINK_TRY(db::set_link_state(c, id, link.revision, "pending", why));
    return {};
}

// A machine that is switched off says nothing: its boot ends when its sessions are gone for long.
Result<> LinkSync::follow_uses(db::Connection& c, const std::map<std::string, Held>& held) {
    const auto now = Clock::now();
    std::vector<std::string> idle, used;
    for (const auto& [id, state] : held) {
        if (state.in_use) {
            used.push_back(id);
            idle_since_.erase(id);
            continue;
        }
        const auto [since, first_seen] = idle_since_.try_emplace(id, now);
        if (now - since->second >= kIdleEndsBoot) idle.push_back(id);
    }
    std::erase_if(idle_since_, [&](const auto& entry) { return !held.contains(entry.first); });
    GOLDLINK_TRY(db::end_boots_of_idle_links(c, idle));
    return db::reopen_boots_of_used_links(c, used);
}

}  // namespace goldlink::manager
