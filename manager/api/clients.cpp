// Clients and their boots. The CSV import is in client_import.cpp, Wake-on-LAN's packet in
// wake.cpp.
#include "manager/db/clients.hpp"

#include <fmt/format.h>

#include "common/mac.hpp"
#include "manager/api/client_changes.hpp"
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/wake.hpp"

namespace goldlink::manager::api {
namespace {

Refused no_client(const Call& call) {
    return refuse_missing(fmt::format("client {}", call.param("client").substr(0, 64)));
}

Answer shown(db::Connection& c, int status, const std::string& id) {
    GOLDLINK_TRY_ASSIGN(const auto client, db::find_client_by_id(c, id));
    if (!client) return refuse_missing(fmt::format("client {}; it was removed meanwhile", id));
    GOLDLINK_TRY_ASSIGN(const auto boots, db::last_boots(c, {id}));
    http::Response response = json_response(status, view(*client, boots));
    response.headers.emplace_back("ETag", etag(client->revision));
    if (status == 201) response.headers.emplace_back("Location", "/api/v1/clients/" + client->name);
    return response;
}

Maybe<db::ClientFilter> filter_of(const Call& call) {
    db::ClientFilter filter;
    if (const std::string group = call.request.query_value("group"); !group.empty())
        filter.group = group;
    if (const std::string state = call.request.query_value("state"); !state.empty()) {
        if (state != "approved" && state != "pending")
            return refuse_field("state", "state is approved or pending");
        filter.state = state;
    }
    if (const std::string text = call.request.query_value("mac"); !text.empty()) {
        const auto mac = Mac::parse(text);
        if (!mac) return refuse_field("mac", mac.error().message);
        filter.mac = mac->to_string();
    }
    return filter;
}

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, false));
    GOLDLINK_TRY_CALL(const db::ClientFilter filter, filter_of(call));
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(auto clients, db::list_clients(c, filter, page.cursor, page.limit + 1));
        std::vector<std::string> ids;
        for (const db::Client& client : clients) ids.push_back(client.id);
        GOLDLINK_TRY_ASSIGN(const auto boots, db::last_boots(c, ids));
        return page_response(
            std::move(clients), page, [&](const db::Client& client) { return view(client, boots); },
            [](const db::Client& client) { return client.name; });
    });
}

Answer create(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"name", "macs", "group", "note"}));
    NewClient client;
    GOLDLINK_TRY_CALL(client.name, name_field(body, "name"));
    GOLDLINK_TRY_CALL(client.macs, macs_field(body));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    client.note = note.value_or("");
    const auto group = json::optional_string(body, "group", 63);
    if (!group) return refuse_field("group", group.error().message);
    client.group = *group;
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const std::string id, add_client(c, client));
        GOLDLINK_TRY(db::add_event(c, {{}, "client_added", client.name, {}, {}, "{}"}));
        return shown(c, 201, id);
    });
}

Answer get(Call& call) {
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto client, db::find_client(c, call.param("client")));
        if (!client) return no_client(call);
        return shown(c, 200, client->id);
    });
}

Answer update(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"name", "macs", "group", "note"}));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto before, db::lock_client(c, call.param("client")));
        if (!before) return no_client(call);
        if (auto match = check_if_match(call, before->revision); !match)
            return Refused(std::move(match).error());
        std::string name = before->name;
        if (body.contains("name")) {
            GOLDLINK_TRY_CALL(name, name_field(body, "name"));
            GOLDLINK_TRY_ASSIGN(const auto other, db::find_client(c, name));
            if (other && other->id != before->id)
                return refuse(409, "name-taken", "The name is taken",
                              fmt::format("there is a client {} already", other->name));
        }
        GOLDLINK_TRY_CALL(const auto note, note_field(body));
        const auto group_name = json::optional_string(body, "group", 63);
        if (!group_name) return refuse_field("group", group_name.error().message);
        GOLDLINK_TRY_CALL(const auto group,
                          wanted_group(c, body.contains("group") ? *group_name : before->group));
        GOLDLINK_TRY(db::update_client(c, before->id, name,
                                       group ? std::optional(group->id) : std::nullopt,
                                       before->state, note.value_or(before->note)));
        if (body.contains("macs")) {
            GOLDLINK_TRY_CALL(const auto macs, macs_field(body));
            if (auto taken = take_macs(c, before->id, macs); !taken)
                return Refused(std::move(taken).error());
        }
        if (auto linked = link_by_group(c, before->id); !linked)
            return Refused(std::move(linked).error());
        return shown(c, 200, before->id);
    });
}

Answer remove(Call& call) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto client, db::lock_client(c, call.param("client")));
        if (!client) return no_client(call);
        if (client->link_id)
            return refuse_blocked(
                "client-has-link", "The client has a link",
                fmt::format("{} is linked to {}; remove the link first, which drops its overlay",
                            client->name, client->image.value_or("an image")),
                {fmt::format("link {}", *client->link_id)});
        GOLDLINK_TRY(db::delete_client(c, client->id));
        GOLDLINK_TRY(db::add_event(c, {{}, "client_removed", client->name, {}, {}, "{}"}));
        return no_content();
    });
}

Answer approve(Call& call) {
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto client, db::lock_client(c, call.param("client")));
        if (!client) return no_client(call);
        if (client->state == "approved") return shown(c, 200, client->id);
        GOLDLINK_TRY_CALL(const auto group, wanted_group(c, client->group));
        GOLDLINK_TRY(db::update_client(c, client->id, client->name,
                                       group ? std::optional(group->id) : std::nullopt, "approved",
                                       client->note));
        if (auto linked = link_by_group(c, client->id); !linked)
            return Refused(std::move(linked).error());
        GOLDLINK_TRY(db::add_event(c, {{}, "client_approved", client->name, {}, {}, "{}"}));
        return shown(c, 200, client->id);
    });
}

Answer wake(Call& call) {
    GOLDLINK_TRY_ASSIGN(const auto client, call.services.pool.run([&](db::Connection& c) {
        return db::find_client(c, call.param("client"));
    }));
    if (!client) return no_client(call);
    for (const std::string& text : client->macs) {
        GOLDLINK_TRY_ASSIGN(const Mac mac, Mac::parse(text));
        if (const auto sent = send_wake_packet(mac, call.services.wake_address); !sent)
            return refuse(502, "wake-failed", "The Wake-on-LAN packet could not be sent",
                          sent.error().message);
    }
    return json_response(
        202, json::object{{"macs", json::array(client->macs.begin(), client->macs.end())}});
}

Answer boots(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    return call.services.pool.run([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto client, db::find_client(c, call.param("client")));
        if (!client) return no_client(call);
        GOLDLINK_TRY_ASSIGN(auto rows, db::boots_of(c, client->id, page.cursor, page.limit + 1));
        return page_response(
            std::move(rows), page, [](const db::Boot& boot) { return view(boot); },
            [](const db::Boot& boot) { return boot.id; });
    });
}

}  // namespace

void add_client_routes(Table& table) {
    table.push_back({"GET", "/clients", kRead, {"limit", "cursor", "group", "state", "mac"}, list});
    table.push_back({"POST", "/clients", kWrite, {}, create});
    table.push_back({"GET", "/clients/{client}", kRead, {}, get});
    table.push_back({"PATCH", "/clients/{client}", kWrite, {}, update});
    table.push_back({"DELETE", "/clients/{client}", kWrite, {}, remove});
    table.push_back({"POST", "/clients/{client}/approve", kWrite, {}, approve});
    table.push_back({"POST", "/clients/{client}/wake", kWrite, {}, wake});
    table.push_back({"GET", "/clients/{client}/boots", kRead, {"limit", "cursor"}, boots});
}

}  // namespace goldlink::manager::api
