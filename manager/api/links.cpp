// Links: made for a client or as a lease, shown with what the target says of them, reset.
#include "manager/api/links.hpp"

#include <fmt/format.h>

#include <map>

#include "common/hex.hpp"
#include "common/log.hpp"
#include "manager/api/client_changes.hpp"
#include "manager/api/input.hpp"
#include "manager/api/link_disks.hpp"
#include "manager/api/views.hpp"
#include "manager/db/clients.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/naming.hpp"
#include "manager/target_links.hpp"

namespace goldlink::manager::api {
namespace {

// How long POST /links waits for the target to serve the link.
constexpr std::chrono::seconds kServeWait{10};
constexpr std::size_t kSecretLength = 16;
constexpr std::chrono::seconds kLiveTimeout{3};

LinkContext context_of(Call& call) {
    LinkContext context;
    context.portal = call.services.target_status.portal(call.request.local);
    context.secrets = call.sees_secrets();
    return context;
}

LiveLink live_link(const Services& services, const std::string& id) {
    const auto answer = services.target.call("GET", "/links/" + id, "", kLiveTimeout);
    if (!answer) return tl::unexpected(answer.error());
    auto parsed = json::parse_object(*answer);
    if (!parsed)
        return tl::unexpected(
            PeerError{0, "", "the target's answer cannot be read: " + parsed.error().message});
    return std::move(*parsed);
}

http::Response shown(Call& call, int status, const db::Link& link) {
    LinkContext context = context_of(call);
    context.live = live_link(call.services, link.id);
    return json_response(status, view(link, context));
}

// 201 only when the target that clients of this manager are sent to serves it.
http::Response shown_new(Call& call, const db::Link& link) {
    LinkContext context = context_of(call);
    context.live = live_link(call.services, link.id);
    const bool served = standing_of(link, context.live).state == "ready";
    http::Response response = json_response(served ? 201 : 202, view(link, context));
    if (served) response.headers.emplace_back("Location", "/api/v1/links/" + link.id);
    return response;
}

Maybe<db::Link> needed_link(Call& call) {
    return call.services.pool.run([&](db::Connection& c) { return needed_link(c, call); });
}

LiveLink of_list(const PeerResult<std::map<std::string, json::object>>& list,
                 const std::string& id) {
    if (!list) return tl::unexpected(list.error());
    const auto found = list->find(id);
    if (found == list->end()) return tl::unexpected(PeerError{404, "not-found", ""});
    return found->second;
}

Answer list(Call& call) {
    GOLDLINK_TRY_CALL(const Page page, page_of(call, true));
    db::LinkFilter filter;
    if (const std::string client = call.request.query_value("client"); !client.empty())
        filter.client = client;
    if (const std::string image = call.request.query_value("image"); !image.empty())
        filter.image = image;
    if (call.is_ci()) filter.created_by = call.token.id;
    GOLDLINK_TRY_ASSIGN(auto links, call.services.pool.run([&](db::Connection& c) {
        return db::list_links(c, filter, page.cursor, page.limit + 1);
    }));
    const auto live = target_links(call.services.target, kLiveTimeout);
    LinkContext context = context_of(call);
    return page_response(
        std::move(links), page,
        [&](const db::Link& link) {
            context.live = of_list(live, link.id);
            return view(link, context);
        },
        [](const db::Link& link) { return link.id; });
}

struct Wanted {
    std::optional<std::string> client;
    std::optional<std::int64_t> lease_seconds;
    ImageReference image;
    WantedDisk system;              // LUN 0
    std::vector<WantedDisk> disks;  // beside it
    bool install = false;
};

Maybe<Wanted> wanted_of(const Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"client", "lease", "image", "policy", "disks",
                                         "logical_block_bytes", "quota_bytes", "install"}));
    Wanted wanted;
    const auto image = json::string_field(body, "image", 1, 140);
    if (!image) return refuse_field("image", image.error().message);
    GOLDLINK_TRY_CALL(wanted.image, parse_image_reference(*image));
    const auto lease = json::optional_string(body, "lease", 16);
    if (!lease) return refuse_field("lease", lease.error().message);
    const auto client = json::optional_string(body, "client", 63);
    if (!client) return refuse_field("client", client.error().message);
    if (client->has_value() == lease->has_value())
        return refuse_field(
            "client",
            "give either a client or a lease: {\"client\": \"PC-001\"} or {\"lease\": \"30m\"}");
    wanted.client = *client;
    if (*lease) {
        GOLDLINK_TRY_CALL(wanted.lease_seconds, parse_lease(**lease));
    }
    if (body.contains("policy")) {
        GOLDLINK_TRY_CALL(wanted.system.policy, policy_field(body, "discard"));
    }
    GOLDLINK_TRY_CALL(wanted.system.logical_block_bytes, block_bytes_field(body));
    GOLDLINK_TRY_CALL(wanted.system.quota_bytes, quota_field(body));
    const auto install = json::optional_bool(body, "install");
    if (!install) return refuse_field("install", install.error().message);
    wanted.install = install->value_or(false);
    if (wanted.install && !wanted.client)
        return refuse_field("install", "a lease has no machine that could install");
    GOLDLINK_TRY_CALL(wanted.disks, disks_field(body));
    if (call.is_ci() && wanted.client)
        return refuse(403, "role-not-allowed", "The token's role does not allow this",
                      "a ci token makes leases only; binding a client needs an operator or admin");
    return wanted;
}

// LUN 0 first, then the others. `policy`: LUN 0's where the caller gave none.
Maybe<std::vector<db::NewDisk>> disks_of(db::Connection& c, const Wanted& wanted,
                                         std::string policy) {
    GOLDLINK_TRY_CALL(db::ImageTarget image, resolve(c, wanted.image));
    GOLDLINK_TRY_CALL(db::NewDisk system,
                      make_disk(wanted.system, std::move(image), std::move(policy)));
    GOLDLINK_TRY_CALL(auto disks, resolve_disks(c, wanted.disks));
    disks.insert(disks.begin(), std::move(system));
    if (wanted.install) {
        std::vector<std::string> kinds;
        for (const db::NewDisk& disk : disks) kinds.push_back(disk.image.kind);
        if (auto can = check_can_install(kinds); !can) return Refused(std::move(can).error());
    }
    return disks;
}

Maybe<std::string> link_client(db::Connection& c, const Call& call, const Wanted& wanted) {
    GOLDLINK_TRY_ASSIGN(const auto client, db::lock_client(c, *wanted.client));
    if (!client) return refuse_missing(fmt::format("client {}", *wanted.client));
    if (client->state == "pending")
        return refuse(
            409, "client-pending", "The client is not approved",
            fmt::format("{} registered itself and waits; approve it first", client->name));
    std::string policy = "discard";
    if (client->group) {
        GOLDLINK_TRY_ASSIGN(const auto group, db::find_group(c, *client->group));
        if (group) policy = group->policy;
    }
    GOLDLINK_TRY_CALL(auto disks, disks_of(c, wanted, std::move(policy)));
    return add_client_link(c, *client, std::move(disks), call.token.id, wanted.install);
}

Maybe<std::string> add_lease(db::Connection& c, const Call& call, const Wanted& wanted) {
    db::NewLink link;
    link.lease_seconds = wanted.lease_seconds;
    link.iqn = iqn_of("lease-" + random_uuid().substr(0, 13));
    link.username = "goldlink";
    link.secret = random_secret(kSecretLength);
    GOLDLINK_TRY_CALL(link.disks, disks_of(c, wanted, "discard"));
    link.created_by = call.token.id;
    GOLDLINK_TRY_ASSIGN(const auto id, db::insert_link(c, link));
    if (!id)
        return refuse(409, "conflict", "The lease's name is taken",
                      "a random name was drawn twice; try again");
    return *id;
}

Maybe<std::string> add_link(db::Connection& c, const Call& call, const Wanted& wanted) {
    GOLDLINK_TRY_CALL(const std::string id,
                      wanted.client ? link_client(c, call, wanted) : add_lease(c, call, wanted));
    GOLDLINK_TRY_ASSIGN(const auto link, db::find_link(c, id));
    if (!link) return refuse_missing(fmt::format("link {}", id));
    GOLDLINK_TRY(db::add_event(
        c, {{},
            "link_created",
            wanted.client,
            id,
            {},
            json::serialize(json::object{{"image", link->image}, {"version", link->version}})}));
    return id;
}

Answer create(Call& call) {
    GOLDLINK_TRY_CALL(const Wanted wanted, wanted_of(call));
    GOLDLINK_TRY_CALL(const std::string id, call.services.pool.transact([&](db::Connection& c) {
        return add_link(c, call, wanted);
    }));
    GOLDLINK_TRY_CALL(const db::Link link, wait_served(call, id));
    return shown_new(call, link);
}

Answer get(Call& call) {
    GOLDLINK_TRY_CALL(const db::Link link, needed_link(call));
    return shown(call, 200, link);
}

bool keeps_changes(const db::Link& link) {
    return std::ranges::any_of(link.disks, [](const db::LinkDisk& disk) {
        return disk.kind != "iso" && disk.policy != "discard";
    });
}

// A running PC must not lose the disk it works on by a slip.
Maybe<void> check_not_running(const Call& call, const db::Link& link) {
    if (!keeps_changes(link)) return {};
    const auto live = live_link(call.services, link.id);
    if (!live) return {};  // nobody runs on a target that is away, and the disk goes to the trash
    const auto sessions = json::array_field(*live, "sessions", 100'000);
    if (!sessions || sessions->empty()) return {};
    std::vector<std::string> users;
    for (const json::value& session : *sessions)
        if (session.is_object())
            if (const auto name = json::string_field(session.as_object(), "initiator_name", 0, 223))
                users.push_back(*name);
    return refuse_blocked(
        "link-in-use", "The link is in use",
        fmt::format("{} runs on this disk and its changes are kept; shut it down first, or remove "
                    "the link with force, which pulls the disk from under it (it can be restored "
                    "from the trash)",
                    link.client.value_or("its initiator")),
        std::move(users));
}

Answer remove(Call& call) {
    GOLDLINK_TRY_CALL(const bool force, bool_query(call, "force"));
    GOLDLINK_TRY_CALL(const db::Link wanted, needed_link(call));
    if (!force)
        if (auto free = check_not_running(call, wanted); !free)
            return Refused(std::move(free).error());
    GOLDLINK_TRY_CALL(
        const db::Link link, call.services.pool.transact([&](db::Connection& c) -> Maybe<db::Link> {
            GOLDLINK_TRY_CALL(db::Link found, needed_link(c, call));
            GOLDLINK_TRY_ASSIGN(const bool deleted, db::delete_link(c, found.id));
            if (!deleted) return refuse_missing(fmt::format("link {}", found.id));
            GOLDLINK_TRY(db::add_event(c, {{}, "link_removed", found.client, found.id, {}, "{}"}));
            return found;
        }));
    // At once where the target answers; else the reconciler takes it away when it is back.
    const auto dropped = call.services.target.call(
        "DELETE", fmt::format("/links/{}?trash={}", link.id, link.client.has_value()));
    if (!dropped && dropped.error().status != 404)
        log::info("link {} is removed from the registry; the target will follow: {}", link.id,
                  dropped.error().detail);
    return no_content();
}

// What the client starts at its next boot: its disk, or the installer.
Maybe<void> change_install(db::Connection& c, const db::Link& link, bool install) {
    if (install) {
        if (!link.client)
            return refuse_field("install", "a lease has no machine that could install");
        std::vector<std::string> kinds;
        for (const db::LinkDisk& disk : link.disks) kinds.push_back(disk.kind);
        if (auto can = check_can_install(kinds); !can) return Refused(std::move(can).error());
    }
    GOLDLINK_TRY(db::set_install(c, link.id, install));
    return {};
}

Maybe<void> change_quota(db::Connection& c, const db::Link& link, std::int64_t lun,
                         std::optional<std::int64_t> quota_bytes) {
    GOLDLINK_TRY_CALL(const db::LinkDisk disk, needed_disk(link, lun));
    if (disk.kind == "iso")
        return refuse_field("lun", fmt::format("lun {} is a disc: nothing is written to it, so it "
                                               "has no quota",
                                               lun));
    GOLDLINK_TRY(db::set_disk_quota(c, link.id, lun, quota_bytes));
    return {};
}

Answer update(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"install", "quota_bytes", "lun"}));
    const auto install = json::optional_bool(body, "install");
    if (!install) return refuse_field("install", install.error().message);
    GOLDLINK_TRY_CALL(const auto quota, quota_field(body));
    GOLDLINK_TRY_CALL(const auto lun, lun_field(body));
    const bool has_quota = body.contains("quota_bytes");
    if (!*install && !has_quota)
        return refuse_field("install", "nothing to change: give install, quota_bytes or both");
    if (lun && !has_quota) return refuse_field("lun", "lun says whose quota_bytes is meant");
    GOLDLINK_TRY_CALL(const db::Link link,
                      call.services.pool.transact([&](db::Connection& c) -> Maybe<db::Link> {
                          GOLDLINK_TRY_CALL(const db::Link found, needed_link(c, call));
                          if (*install)
                              if (auto done = change_install(c, found, **install); !done)
                                  return Refused(std::move(done).error());
                          if (has_quota)
                              if (auto done = change_quota(c, found, lun.value_or(0), quota); !done)
                                  return Refused(std::move(done).error());
                          return needed_link(c, call);
                      }));
    return shown(call, 200, link);
}

Answer reset(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"force", "lun"}, true));
    const auto force = json::optional_bool(body, "force");
    if (!force) return refuse_field("force", force.error().message);
    GOLDLINK_TRY_CALL(const auto lun, lun_field(body));
    GOLDLINK_TRY_CALL(const db::Link link, needed_link(call));
    json::object order{{"force", force->value_or(false)}};
    json::object told;
    if (lun) {
        if (auto disk = needed_disk(link, *lun); !disk) return Refused(std::move(disk).error());
        order["lun"] = told["lun"] = *lun;
    }
    const auto done = call.services.target.call("POST", "/links/" + link.id + "/reset",
                                                json::serialize(order), std::chrono::seconds(30));
    if (!done) return refuse_peer(call.services.target, done.error());
    GOLDLINK_TRY_CALL(
        const db::Link now, call.services.pool.transact([&](db::Connection& c) -> Maybe<db::Link> {
            // A kept overlay held the link on its version; now that it is empty it follows its
            // channel again.
            GOLDLINK_TRY(db::follow_channel(c, link.id, lun));
            GOLDLINK_TRY(db::forget_saved_from(c, link.id));
            GOLDLINK_TRY(db::add_event(
                c, {{}, "link_reset", link.client, link.id, {}, json::serialize(told)}));
            return needed_link(c, call);
        }));
    return shown(call, 200, now);
}

}  // namespace

Maybe<db::Link> wait_served(Call& call, const std::string& id) {
    Watch& watch = call.services.watch;
    const auto deadline = std::chrono::steady_clock::now() + kServeWait;
    while (true) {
        const std::uint64_t seen = watch.count(Topic::links);
        GOLDLINK_TRY_ASSIGN(auto link, call.services.pool.run([&](db::Connection& c) {
            return db::find_link(c, id);
        }));
        if (!link) return refuse_missing(fmt::format("link {}; it was removed meanwhile", id));
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (link->state != "pending" || link->problem || left.count() <= 0 || watch.stopping() ||
            call.request.should_end())
            return std::move(*link);
        watch.wait(Topic::links, seen, std::min(left, std::chrono::milliseconds(500)));
    }
}

Maybe<db::Link> needed_link(db::Connection& c, const Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "link_id", "link"));
    GOLDLINK_TRY_ASSIGN(auto link, db::find_link(c, id));
    if (!link || (call.is_ci() && link->created_by != call.token.id))
        return refuse_missing(fmt::format("link {}", id));
    return std::move(*link);
}

void add_link_routes(Table& table) {
    table.push_back({"GET", "/links", kRead | kCi, {"limit", "cursor", "client", "image"}, list});
    table.push_back({"POST", "/links", kWrite | kCi, {}, create});
    table.push_back({"GET", "/links/{link_id}", kRead | kCi, {}, get});
    table.push_back({"PATCH", "/links/{link_id}", kWrite, {}, update});
    table.push_back({"DELETE", "/links/{link_id}", kWrite | kCi, {"force"}, remove});
    table.push_back({"POST", "/links/{link_id}/reset", kWrite | kCi, {}, reset});
    add_link_version_routes(table);
    add_link_rebase_routes(table);
    add_link_usage_routes(table);
}

}  // namespace goldlink::manager::api
