#include "manager/api/client_changes.hpp"

#include <fmt/format.h>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/link_disks.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/history.hpp"
#include "manager/naming.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::size_t kSecretLength = 16;  // what Windows takes at most

Refused refuse_linked(const db::Client& client) {
    return refuse_blocked("client-has-link", "The client has a link",
                          fmt::format("{} is linked to {} already; remove that link first",
                                      client.name, client.image.value_or("an image")),
                          {fmt::format("link {}", client.link_id.value_or(""))});
}

}  // namespace

Maybe<std::optional<db::Group>> wanted_group(db::Connection& c,
                                             const std::optional<std::string>& name) {
    if (!name) return std::optional<db::Group>();
    GOLDLINK_TRY_ASSIGN(auto group, db::find_group(c, *name));
    if (!group) {
        Refusal refusal(409, "no-such-group", "There is no such group",
                        fmt::format("there is no group {}; make it first", name->substr(0, 64)));
        refusal.field = "group";
        return Refused(std::move(refusal));
    }
    return group;
}

Maybe<void> take_macs(db::Connection& c, const std::string& client_id,
                      const std::vector<std::string>& macs) {
    GOLDLINK_TRY_ASSIGN(const auto owners, db::owners_of_macs(c, macs));
    for (const db::MacOwner& owner : owners) {
        if (owner.client_id == client_id) continue;
        Refusal refusal(
            409, "mac-in-use", "A MAC address belongs to another client",
            fmt::format(
                "{} belongs to {}; take it from there first, or approve that client if it is the "
                "same machine",
                owner.mac, owner.client));
        refusal.field = "macs";
        refusal.blocked_by = {fmt::format("client {}", owner.client)};
        return Refused(std::move(refusal));
    }
    GOLDLINK_TRY(db::set_macs(c, client_id, macs));
    return {};
}

Maybe<std::string> add_client(db::Connection& c, const NewClient& client) {
    GOLDLINK_TRY_CALL(const auto group, wanted_group(c, client.group));
    GOLDLINK_TRY_ASSIGN(
        const auto id,
        db::insert_client(c, client.name, group ? std::optional(group->id) : std::nullopt,
                          "approved", client.note));
    if (!id) {
        Refusal refusal(409, "name-taken", "The name is taken",
                        fmt::format("there is a client {} already", client.name));
        refusal.field = "name";
        return Refused(std::move(refusal));
    }
    if (auto taken = take_macs(c, *id, client.macs); !taken)
        return Refused(std::move(taken).error());
    if (auto linked = link_by_group(c, *id); !linked) return Refused(std::move(linked).error());
    return *id;
}

Maybe<std::string> add_client_link(db::Connection& c, const db::Client& client,
                                   std::vector<db::NewDisk> disks,
                                   const std::optional<std::string>& created_by, bool install) {
    if (client.link_id) return refuse_linked(client);
    db::NewLink link;
    link.client_id = client.id;
    link.iqn = iqn_of(client.name);
    // Two names may differ only in what an IQN cannot say; a renamed client keeps its IQN.
    GOLDLINK_TRY_ASSIGN(const bool taken, db::iqn_taken(c, link.iqn));
    if (taken) link.iqn += "-" + random_uuid().substr(0, 8);
    link.username = "goldlink";
    link.secret = random_secret(kSecretLength);
    link.disks = std::move(disks);
    link.install = install;
    link.created_by = created_by;
    GOLDLINK_TRY_ASSIGN(const auto id, db::insert_link(c, link));
    if (!id) return refuse_linked(client);
    return *id;
}

Maybe<void> link_by_group(db::Connection& c, const std::string& client_id) {
    GOLDLINK_TRY_ASSIGN(const auto client, db::find_client_by_id(c, client_id));
    if (!client || client->link_id || client->state != "approved" || !client->group) return {};
    GOLDLINK_TRY_ASSIGN(const auto group, db::find_group(c, *client->group));
    if (!group || !group->image) return {};
    GOLDLINK_TRY_CALL(const ImageReference reference, parse_image_reference(*group->image));
    GOLDLINK_TRY_CALL(db::ImageTarget image, resolve(c, reference));
    GOLDLINK_TRY_CALL(db::NewDisk disk, make_disk({}, std::move(image), group->policy));
    std::vector<db::NewDisk> disks;
    disks.push_back(std::move(disk));
    GOLDLINK_TRY_CALL(const std::string id,
                      add_client_link(c, *client, std::move(disks), std::nullopt));
    GOLDLINK_TRY(db::add_event(c, {{}, "link_created", client->name, id, {}, "{}"}));
    return {};
}

}  // namespace goldlink::manager::api
