#include "manager/reconcile/pxe_sync.hpp"

#include <algorithm>

#include "common/json.hpp"
#include "common/log.hpp"
#include "manager/db/links.hpp"
#include "manager/naming.hpp"

namespace goldlink::manager {
namespace {

constexpr std::chrono::seconds kCheckEvery{15};
constexpr std::chrono::milliseconds kFirstBackoff{250};
constexpr std::chrono::milliseconds kMaxBackoff{5000};

std::string table_json(std::int64_t revision, const db::Settings& settings,
                       const std::vector<db::BootEntry>& entries) {
    json::array clients;
    for (const db::BootEntry& entry : entries) {
        json::object client{
            {"id", entry.client_id},
            {"name", entry.name},
            {"macs", json::array(entry.macs.begin(), entry.macs.end())},
            {"link_id", entry.link_id ? json::value(*entry.link_id) : json::value(nullptr)},
            {"boot", entry.link_id ? "link" : "local"},
            {"initiator", initiator_of(entry.name)}};
        if (entry.install_lun) client["install_lun"] = *entry.install_lun;
        clients.push_back(std::move(client));
    }
    json::object shown{{"unknown_policy", settings.unknown_policy},
                       {"menu_timeout_seconds", settings.menu_timeout_seconds},
                       {"naming_pattern", settings.naming_pattern}};
    if (settings.http_base) shown["http_base"] = *settings.http_base;
    return json::serialize(json::object{
        {"revision", revision}, {"settings", std::move(shown)}, {"clients", std::move(clients)}});
}

}  // namespace

void PxeSync::try_later() {
    away_ = true;
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kMaxBackoff);
    next_try_ = Clock::now() + backoff_;
}

std::optional<std::int64_t> PxeSync::held_revision() {
    const auto answer = services_.pxe->call("GET", "/status", "", std::chrono::seconds(3));
    if (!answer) return std::nullopt;
    const auto status = json::parse_object(*answer);
    if (!status) return std::nullopt;
    const auto revision = json::int_field(*status, "revision", 0, INT64_MAX);
    if (!revision) return std::nullopt;
    return *revision;
}

Result<> PxeSync::round(db::Connection& c) {
    if (services_.pxe == nullptr) {
        next_try_ = Clock::time_point::max();  // else the reconciler turns without a pause
        return {};
    }
    const bool due = Clock::now() >= next_try_;
    if (away_ && !due) return {};
    GOLDLINK_TRY_ASSIGN(std::int64_t revision, db::registry_revision(c));
    if (!due && revision == done_revision_) return {};

    // One that this manager did not give it, or that it may have lost since, is given again: a
    // table of another server may have the same revision.
    const bool sure = !away_ && done_revision_ == revision;
    const auto held = held_revision();
    if (!held) {
        try_later();
        return {};
    }
    if (*held > revision) {
        log::warn(
            "pxe holds revision {} of the boot table, the database only {} (restored from a "
            "backup?); the "
            "database counts",
            *held, revision);
        GOLDLINK_TRY(db::raise_revision(c, *held));
        GOLDLINK_TRY_ASSIGN(revision, db::registry_revision(c));
    }
    if (*held != revision || !sure) {
        GOLDLINK_TRY_ASSIGN(const auto settings, db::settings(c));
        GOLDLINK_TRY_ASSIGN(const auto entries, db::boot_table(c));
        const auto pushed = services_.pxe->call(
            "PUT", "/table", table_json(revision, settings, entries), std::chrono::seconds(15));
        if (!pushed) {
            if (!pushed.error().no_answer())
                log::warn("pxe refuses the boot table: {}", pushed.error().detail);
            try_later();
            return {};
        }
    }
    away_ = false;
    backoff_ = {};
    done_revision_ = revision;
    next_try_ = Clock::now() + kCheckEvery;
    return {};
}

}  // namespace goldlink::manager
