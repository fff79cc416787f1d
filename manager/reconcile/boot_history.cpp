#include "manager/reconcile/boot_history.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "common/log.hpp"
#include "common/mac.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/history.hpp"
#include "manager/db/links.hpp"
#include "manager/naming.hpp"
#include "manager/reconcile/finding_names.hpp"

namespace goldlink::manager {
namespace {

std::optional<std::string> if_any(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional(text);
}

Result<std::optional<db::LinkClient>> client_of(db::Connection& c, const SourceEvent& event) {
    if (!event.mac.empty()) {
        const auto mac = Mac::parse(event.mac);
        if (!mac) return Failure(mac.error());
        return db::client_of_mac(c, mac->to_string());
    }
    if (!event.link_id.empty()) return db::client_of_link(c, event.link_id);
    return std::nullopt;
}

// A machine that asked to boot and is in no table becomes a pending client with the next free name.
Result<std::optional<db::LinkClient>> register_unknown(db::Connection& c,
                                                       const SourceEvent& event) {
    GOLDLINK_TRY_ASSIGN(const Mac mac, Mac::parse(event.mac));
    GOLDLINK_TRY_ASSIGN(const db::Settings settings, db::settings(c));
    if (settings.unknown_policy == "local") return std::nullopt;
    GOLDLINK_TRY_ASSIGN(const auto taken, db::client_names(c));
    GOLDLINK_TRY_ASSIGN(const std::string name, next_name(settings.naming_pattern, taken));
    const std::string note =
        fmt::format("registered itself{}", event.arch.empty() ? "" : ", " + event.arch);
    GOLDLINK_TRY_ASSIGN(const auto id, db::insert_client(c, name, std::nullopt, "pending", note));
    if (!id)
        return failure(ErrorKind::conflict, fmt::format("the name {} was taken meanwhile", name));
    GOLDLINK_TRY(db::set_macs(c, *id, {mac.to_string()}));
    log::info("{} registered itself as {}; it waits for approval", mac.to_string(), name);
    GOLDLINK_TRY(db::add_event(c, {{}, "client_registered", name, {}, {}, event.data_json}));
    return db::LinkClient{*id, name, ""};
}

// The boot the event belongs to: by its id, else the client's open one, else a new one where the
// step may start it. "" when there is none.
Result<std::string> boot_of(db::Connection& c, const SourceEvent& event, const BootStep& step,
                            const db::LinkClient& client) {
    if (!event.boot_id.empty()) {
        GOLDLINK_TRY_ASSIGN(const auto known, db::find_boot(c, event.boot_id));
        if (known) return known->client_id == client.client_id ? event.boot_id : std::string();
    } else {
        GOLDLINK_TRY_ASSIGN(const auto open, db::open_boot_of(c, client.client_id));
        if (open) return open->id;
    }
    if (!step.starts_boot) return std::string();
    std::string id = event.boot_id.empty() ? random_uuid() : event.boot_id;
    GOLDLINK_TRY(db::insert_boot(c, id, client.client_id, event.time));
    GOLDLINK_TRY(db::end_other_boots(c, client.client_id, id, event.time));
    return id;
}

Result<> apply(db::Connection& c, const std::string& boot, const SourceEvent& event,
               const BootStep& step, const db::LinkClient& client) {
    const std::string link = event.link_id.empty() ? client.link_id : event.link_id;
    // The target's address has the initiator's port; the client's own address is what people look
    // for.
    const std::string address = event.address.substr(0, event.address.find(':'));
    GOLDLINK_TRY(db::note_boot_facts(c, boot, if_any(event.arch), if_any(address), if_any(link),
                                     event.generation));
    if (!step.stage.empty())
        GOLDLINK_TRY(db::add_boot_stage(c, boot, std::string(step.stage), event.time, step.detail));
    switch (step.outcome) {
        case BootStep::Outcome::goes_on:
            if (step.stage == "script") return db::reopen_boot(c, boot);
            return {};
        case BootStep::Outcome::running:
            return db::set_boot_running(c, boot);
        case BootStep::Outcome::ended:
            return db::end_boot(c, boot, "ended", event.time, std::nullopt);
        case BootStep::Outcome::failed:
            return db::end_boot(c, boot, "failed", event.time, step.problem);
    }
    return {};
}

}  // namespace

Result<> record_event(db::Connection& c, const SourceEvent& event) {
    // The manager tells of its tasks itself, with the names people gave.
    if (event.kind == "import_done" || event.kind == "import_failed") return {};
    GOLDLINK_TRY_ASSIGN(auto client, client_of(c, event));
    if (!client && event.kind == "client_unknown" && !event.mac.empty()) {
        GOLDLINK_TRY_ASSIGN(client, register_unknown(c, event));
    }
    std::string boot = event.boot_id;
    if (const auto step = boot_step(event); step && client) {
        GOLDLINK_TRY_ASSIGN(boot, boot_of(c, event, *step, *client));
        if (!boot.empty()) GOLDLINK_TRY(apply(c, boot, event, *step, *client));
    }
    db::NewEvent stored;
    stored.time = event.time;
    stored.kind = event.kind;
    if (client) stored.client = client->client;
    const std::string link = event.link_id.empty() && client ? client->link_id : event.link_id;
    stored.link_id = if_any(link);
    stored.boot_id = if_any(boot);
    stored.data = event.data_json;
    if (event.kind == "image_damaged" || event.kind == "image_mended") {
        if (auto data = json::parse_object(event.data_json)) {
            GOLDLINK_TRY_ASSIGN(const json::object named, name_version(c, std::move(*data)));
            stored.data = json::serialize(named);
        }
    }
    return db::add_event(c, stored);
}

}  // namespace goldlink::manager
