// The trash: kept disks of removed links, in the names that people gave, and their way back.
#include <fmt/format.h>

#include <map>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/links.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/db/links.hpp"
#include "manager/db/registry.hpp"
#include "manager/naming.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::chrono::seconds kTimeout{30};
constexpr std::size_t kMaxEntries = 100'000;
constexpr std::size_t kMaxDisks = 64;

Maybe<json::array> entries_of(Call& call) {
    const auto answer = call.services.target.call("GET", "/trash", "", kTimeout);
    if (!answer) return refuse_peer(call.services.target, answer.error());
    GOLDLINK_TRY_ASSIGN(const json::object body, json::parse_object(*answer));
    GOLDLINK_TRY_ASSIGN(json::array entries, json::array_field(body, "entries", kMaxEntries));
    return entries;
}

std::string text(const json::object& o, std::string_view name) {
    const auto found = json::optional_string(o, name, 4000);
    return found ? found->value_or("") : "";
}

// Each disk's image and version by the names they have in the registry; null where it has none.
Result<> name_disks(db::Connection& c, json::object& entry) {
    GOLDLINK_TRY_ASSIGN(json::array disks, json::array_field(entry, "disks", kMaxDisks));
    for (json::value& disk : disks) {
        if (!disk.is_object()) continue;
        json::object& shown = disk.as_object();
        GOLDLINK_TRY_ASSIGN(const auto found, db::find_target_by_digest(c, text(shown, "version")));
        shown["digest"] = shown["version"];
        shown["image"] = found ? json::value(found->image) : json::value(nullptr);
        shown["version"] = found ? json::value(found->version) : json::value(nullptr);
    }
    entry["disks"] = std::move(disks);
    return {};
}

// From the one after `cursor` on; all of them when that has gone meanwhile.
std::vector<json::object> page_of_entries(const json::array& entries, const Page& page) {
    std::vector<json::object> shown;
    for (const json::value& entry : entries) {
        if (!entry.is_object()) continue;
        const bool is_cursor = !page.cursor.empty() && text(entry.as_object(), "id") == page.cursor;
        if (is_cursor)
            shown.clear();
        else
            shown.push_back(entry.as_object());
    }
    if (shown.size() > static_cast<std::size_t>(page.limit) + 1)
        shown.resize(static_cast<std::size_t>(page.limit) + 1);
    return shown;
}

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    GOLDLINK_TRY_CALL(const json::array entries, entries_of(call));
    std::vector<json::object> shown = page_of_entries(entries, page);
    const auto named = call.services.pool.run([&](db::Connection& c) -> Result<> {
        for (json::object& entry : shown) GOLDLINK_TRY(name_disks(c, entry));
        return {};
    });
    if (!named) return Refused(Refusal(named.error()));
    return page_response(
        std::move(shown), page, [](const json::object& entry) { return entry; },
        [](const json::object& entry) { return text(entry, "id"); });
}

Maybe<json::object> needed_entry(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "entry_id", "trash entry"));
    GOLDLINK_TRY_CALL(const json::array entries, entries_of(call));
    for (const json::value& entry : entries)
        if (entry.is_object() && text(entry.as_object(), "id") == id) return entry.as_object();
    return refuse_missing(fmt::format("trash entry {}", id));
}

Maybe<db::NewDisk> disk_of(db::Connection& c, const json::object& shown) {
    GOLDLINK_TRY_ASSIGN(const auto lun, json::int_field(shown, "lun", 0, 255));
    const std::string digest = text(shown, "version");
    GOLDLINK_TRY_ASSIGN(auto image, db::find_target_by_digest(c, digest));
    if (!image)
        return refuse_blocked("version-missing", "The disk's version is gone",
                              fmt::format("LUN {} lies over version {}, which no image has any "
                                          "more; import that image again first",
                                          lun, digest),
                              {digest});
    db::NewDisk disk;
    disk.lun = lun;
    disk.policy = text(shown, "policy");
    GOLDLINK_TRY_ASSIGN(disk.quota_bytes, json::optional_int(shown, "quota_bytes", 1, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(disk.logical_block_bytes,
                        json::int_field(shown, "logical_block_bytes", 512, 4096));
    disk.image = std::move(*image);
    return disk;
}

// The rows of the link as it was, for a client that is there and has none.
Maybe<std::string> insert(db::Connection& c, const Call& call, const json::object& entry,
                          const std::string& client_name) {
    GOLDLINK_TRY_ASSIGN(const auto client, db::lock_client(c, client_name));
    if (!client)
        return refuse_field("client", fmt::format("there is no client {} (any more); say which "
                                                  "client gets the disk",
                                                  client_name));
    if (client->link_id)
        return refuse_blocked("client-linked", "The client has a link",
                              fmt::format("{} has link {}; remove that one first, or give the disk "
                                          "to another client",
                                          client->name, *client->link_id),
                              {*client->link_id});
    db::NewLink link;
    link.id = text(entry, "link_id");
    link.client_id = client->id;
    link.iqn = iqn_of(client->name);
    GOLDLINK_TRY_ASSIGN(const bool taken, db::iqn_taken(c, link.iqn));
    if (taken) link.iqn += "-" + random_uuid().substr(0, 8);
    link.username = "goldlink";
    link.secret = random_secret(16);
    link.created_by = call.token.id;
    GOLDLINK_TRY_ASSIGN(const json::array disks, json::array_field(entry, "disks", kMaxDisks));
    for (const json::value& shown : disks) {
        if (!shown.is_object()) continue;
        GOLDLINK_TRY_CALL(db::NewDisk disk, disk_of(c, shown.as_object()));
        link.disks.push_back(std::move(disk));
    }
    GOLDLINK_TRY_ASSIGN(const auto id, db::insert_link(c, link));
    if (!id)
        return refuse_blocked("link-exists", "The link is there already",
                              fmt::format("link {} is in the registry", *link.id), {*link.id});
    GOLDLINK_TRY(db::forget_link_removal(c, *id));
    GOLDLINK_TRY(db::add_event(c, {{}, "link_restored", client->name, *id, {}, "{}"}));
    return *id;
}

Answer restore(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"client"}, true));
    const auto wanted = json::optional_string(body, "client", 63);
    if (!wanted) return refuse_field("client", wanted.error().message);
    GOLDLINK_TRY_CALL(const json::object entry, needed_entry(call));
    const std::string client = wanted->value_or(text(entry, "alias"));
    // The rows are made only if the target has the disk again; what fails after that leaves a link
    // that the target serves and the registry does not have, which is never removed by itself.
    GOLDLINK_TRY_CALL(const std::string id,
                      call.services.pool.transact([&](db::Connection& c) -> Maybe<std::string> {
                          GOLDLINK_TRY_CALL(std::string made, insert(c, call, entry, client));
                          const auto back = call.services.target.call(
                              "POST", "/trash/" + text(entry, "id") + "/restore", "{}", kTimeout);
                          if (!back) return refuse_peer(call.services.target, back.error());
                          return made;
                      }));
    GOLDLINK_TRY_CALL(const db::Link link, wait_served(call, id));
    return json_response(200, json::object{{"link_id", link.id}, {"client", client}});
}

Answer remove(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "entry_id", "trash entry"));
    const auto removed = call.services.target.call("DELETE", "/trash/" + id, "", kTimeout);
    if (!removed) return refuse_peer(call.services.target, removed.error());
    return no_content();
}

}  // namespace

void add_trash_routes(Table& table) {
    table.push_back({"GET", "/trash", kRead, {"limit", "cursor"}, list});
    table.push_back({"POST", "/trash/{entry_id}/restore", kWrite, {}, restore});
    table.push_back({"DELETE", "/trash/{entry_id}", kWrite, {}, remove});
}

}  // namespace goldlink::manager::api
