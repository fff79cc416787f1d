#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/hex.hpp"
#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

constexpr std::size_t kMaxSetBytes = 64 << 20;  // kMaxLinks definitions

json::object overlay_json(const disk::OverlayUsage& usage) {
    return {{"used_bytes", usage.used_bytes},
            {"quota_bytes", usage.quota_bytes},
            {"ram_bytes", usage.ram_bytes},
            {"journal_bytes", usage.journal_bytes}};
}

// What is wrong with versions, by digest; most times nothing.
using Damages = std::map<std::string, std::string>;

Damages damages_of(const ControlContext& context) {
    Damages damages;
    const auto versions = context.store.list();
    if (!versions) return damages;
    for (const auto& info : *versions)
        if (!info.damage.empty()) damages[info.digest] = info.damage;
    return damages;
}

json::object view_json(const LinkView& view, const Damages& damages) {
    json::object o = view.state.definition.to_json(false);
    const LinkReport& report = view.report;
    o["generation"] = report.generation;
    o["pending_generation"] = nullptr;
    if (report.pending_generation) o["pending_generation"] = *report.pending_generation;
    o["boot_id"] = nullptr;
    if (!view.state.current.boot_id.empty()) o["boot_id"] = view.state.current.boot_id;
    json::array sessions;
    for (const LiveSession& session : report.sessions)
        sessions.push_back(json::object{{"initiator_name", session.info.initiator_name},
                                        {"address", session.info.address},
                                        {"since", session.since},
                                        {"isid", isid_text(session.info.isid)}});
    o["sessions"] = std::move(sessions);
    o["overlay"] = overlay_json(report.overlay);
    o["redirect"] = redirect_json(view.state.redirect);
    o["reads"] = json::object{{"cache_hits", report.reads.cache_hits},
                              {"cache_misses", report.reads.cache_misses}};
    o["ready"] = report.ready;
    o["problem"] = nullptr;
    if (!report.problem.empty()) o["problem"] = report.problem;
    // What the running generation is made of; the definition may want another version next.
    json::array running;
    for (const DiskState& disk : view.state.current.disks) {
        json::object shown{{"lun", disk.lun},
                           {"version", disk.version},
                           {"policy", to_string(disk.policy)},
                           {"type", to_string(disk.type)}};
        std::vector<std::string> problems;
        for (const LinkReport::Disk& open : report.disks) {
            if (open.state.lun != disk.lun || disk.type != DiskType::disk) continue;
            shown["overlay"] = overlay_json(open.overlay);
            if (open.overlay.storage_failed) problems.emplace_back(kStorageFailed);
            if (open.overlay.bad_bytes > 0)
                problems.push_back(fmt::format(
                    "{} bytes of it are not what was written, or cannot be read; reads of them "
                    "fail ('goldlink link verify' says which)",
                    open.overlay.bad_bytes));
        }
        if (const auto damage = damages.find(disk.version); damage != damages.end())
            problems.push_back(fmt::format("its version is damaged: {}", damage->second));
        shown["problem"] = nullptr;
        if (!problems.empty()) shown["problem"] = fmt::format("{}", fmt::join(problems, "; "));
        running.push_back(std::move(shown));
    }
    o["running"] = std::move(running);
    return o;
}

}  // namespace

http::Response respond_link(const ControlContext& context, const LinkView& view) {
    return respond_json(200, view_json(view, damages_of(context)));
}

namespace {

Result<LinkDefinition> parse_link(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, json::parse_object(request.body));
    return LinkDefinition::parse(body, request.params.at("id"));
}

http::Response put_link(ControlContext& context, const http::Request& request) {
    auto definition = parse_link(request);
    if (!definition) return http::problem(definition.error());
    auto view = context.links.put(*definition);
    if (!view) return respond(view.error());
    return respond_link(context, *view);
}

Result<std::vector<LinkDefinition>> parse_set(const json::object& body, std::uint64_t& revision,
                                              std::optional<std::uint64_t>& confirmed) {
    GOLDLINK_TRY(json::only_fields(body, {"revision", "links", "confirm_removals"}));
    GOLDLINK_TRY_ASSIGN(const auto count,
                        json::optional_int(body, "confirm_removals", 0, kMaxLinks));
    if (count) confirmed = static_cast<std::uint64_t>(*count);
    GOLDLINK_TRY_ASSIGN(const auto number, json::int_field(body, "revision", 0, INT64_MAX));
    revision = static_cast<std::uint64_t>(number);
    GOLDLINK_TRY_ASSIGN(const json::array items, json::array_field(body, "links", kMaxLinks));
    std::vector<LinkDefinition> definitions;
    std::map<std::string, std::string> names;  // of ids and iqns
    for (const json::value& item : items) {
        if (!item.is_object())
            return failure(ErrorKind::invalid, "field 'links' must hold objects");
        auto definition = LinkDefinition::parse(item.get_object());
        if (!definition)
            return Failure(std::move(definition)
                               .error()
                               .with_context(fmt::format("link {}", definitions.size())));
        for (const std::string& name : {definition->id, definition->iqn})
            if (!names.emplace(name, definition->id).second)
                return failure(ErrorKind::invalid, fmt::format("{} is given to two links", name));
        definitions.push_back(std::move(*definition));
    }
    return definitions;
}

http::Response put_links(ControlContext& context, const http::Request& request) {
    const auto body = json::parse_object(request.body);
    if (!body) return http::problem(body.error());
    std::uint64_t revision = 0;
    std::optional<std::uint64_t> confirmed;
    const auto definitions = parse_set(*body, revision, confirmed);
    if (!definitions) return http::problem(definitions.error());
    const auto problems = context.links.put_all(revision, *definitions, confirmed);
    if (!problems) return respond(problems.error());
    json::array array;
    for (const auto& problem : *problems)
        array.push_back(json::object{{"link_id", problem.link_id},
                                     {"kind", to_string(problem.error.kind)},
                                     {"message", problem.error.message}});
    return respond_json(200, json::object{{"revision", revision},
                                          {"links", context.links.size()},
                                          {"problems", std::move(array)}});
}

http::Response get_links(ControlContext& context) {
    json::array array;
    const Damages damages = damages_of(context);
    for (const LinkView& view : context.links.view_all()) array.push_back(view_json(view, damages));
    return respond_json(200, array);
}

http::Response get_link(ControlContext& context, const http::Request& request) {
    const auto view = context.links.view(request.params.at("id"));
    if (!view)
        return http::problem(404, "no-such-link", "No such link",
                             fmt::format("there is no link {}", request.params.at("id")));
    return respond_link(context, *view);
}

Result<LinkTable::Removal> parse_removal(const http::Request& request) {
    constexpr unsigned kMostSeconds = 60;
    LinkTable::Removal removal;
    GOLDLINK_TRY_ASSIGN(const auto seconds, number_query(request, "graceful", 0, kMostSeconds));
    removal.grace = std::chrono::seconds(seconds);
    if (request.query.contains("revision")) {
        GOLDLINK_TRY_ASSIGN(removal.revision, number_query(request, "revision", 0, INT64_MAX));
    }
    const std::string trash = request.query_value("trash", "true");
    if (trash != "true" && trash != "false")
        return failure(ErrorKind::invalid, "query parameter 'trash' must be true or false");
    removal.to_trash = trash == "true";
    return removal;
}

http::Response delete_link(ControlContext& context, const http::Request& request) {
    const auto removal = parse_removal(request);
    if (!removal) return http::problem(removal.error());
    const auto removed = context.links.remove(request.params.at("id"), *removal);
    if (!removed) return respond(removed.error());
    return respond_text(204, "");
}

struct BootBody {
    BootRequest request;
    std::string client_address;
};

Result<BootBody> parse_boot(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"boot_id", "initiator", "client_address"}));
    BootBody boot;
    GOLDLINK_TRY_ASSIGN(boot.request.boot_id, json::string_field(body, "boot_id", 1, 64));
    if (!is_uuid(boot.request.boot_id))
        return failure(ErrorKind::invalid, "field 'boot_id' must be a UUID");
    GOLDLINK_TRY_ASSIGN(const auto initiator, json::optional_string(body, "initiator", 223));
    if (initiator) {
        GOLDLINK_TRY(check_initiator_name(*initiator));
        boot.request.initiator = *initiator;
    }
    GOLDLINK_TRY_ASSIGN(const auto address, json::optional_string(body, "client_address", 64));
    boot.client_address = address.value_or("");
    return boot;
}

http::Response post_boot(ControlContext& context, const http::Request& request) {
    const auto boot = parse_boot(request);
    if (!boot) return http::problem(boot.error());
    const auto answer = context.links.boot(request.params.at("id"), boot->request);
    if (!answer) return respond(answer.error());
    const DiskState& disk = answer->generation.disks.front();
    return respond_json(
        200, json::object{{"generation", answer->generation.number},
                          {"iqn", answer->iqn},
                          {"portal", portal_for(context.portals.addresses(),
                                                context.advertised_portal, boot->client_address)},
                          {"lun", disk.lun},
                          {"username", answer->generation.username},
                          {"secret", answer->generation.secret},
                          {"policy", to_string(disk.policy)},
                          {"version", disk.version}});
}

Result<std::optional<std::uint16_t>> optional_lun(const json::object& body) {
    GOLDLINK_TRY_ASSIGN(const auto lun, json::optional_int(body, "lun", 0, kMaxLun));
    if (!lun) return std::optional<std::uint16_t>();
    return std::optional(static_cast<std::uint16_t>(*lun));
}

http::Response post_reset(ControlContext& context, const http::Request& request) {
    const auto body = body_object(request);
    if (!body) return http::problem(body.error());
    if (auto known = json::only_fields(*body, {"force", "lun"}); !known)
        return http::problem(known.error());
    const auto force = json::optional_bool(*body, "force");
    if (!force) return http::problem(force.error());
    const auto lun = optional_lun(*body);
    if (!lun) return http::problem(lun.error());
    const auto reset = context.links.reset(request.params.at("id"), force->value_or(false), *lun);
    if (!reset) return respond(reset.error());
    return get_link(context, request);
}

http::Response put_redirect(ControlContext& context, const http::Request& request) {
    const auto body = json::parse_object(request.body);
    if (!body) return http::problem(body.error());
    auto redirect = parse_redirect(*body);
    if (!redirect) return http::problem(redirect.error());
    const auto set = context.links.redirect(request.params.at("id"), std::move(*redirect));
    if (!set) return respond(set.error());
    return get_link(context, request);
}

http::Response delete_redirect(ControlContext& context, const http::Request& request) {
    const auto cleared = context.links.redirect(request.params.at("id"), std::nullopt);
    if (!cleared) return respond(cleared.error());
    return respond_text(204, "");
}

// `kind`: commit, save, check (verify) or salvage.
http::Response post_disk_task(ControlContext& context, const http::Request& request,
                              const char* kind) {
    const auto body = body_object(request);
    if (!body) return http::problem(body.error());
    if (auto known = json::only_fields(*body, {"id", "lun"}); !known)
        return http::problem(known.error());
    const auto id = json::string_field(*body, "id", 1, 64);
    if (!id) return http::problem(id.error());
    const auto lun = optional_lun(*body);
    if (!lun) return http::problem(lun.error());
    if (!context.links.view(request.params.at("id"))) return get_link(context, request);
    TaskRequest task{*id, kind, {{"link", request.params.at("id")}}};
    if (*lun) task.arguments["lun"] = std::to_string(**lun);
    auto report = context.tasks.add(std::move(task));
    if (!report) return http::problem(report.error());
    return respond_text(202, std::move(*report));
}

struct RebaseBody {
    std::string id;
    std::map<std::string, std::string> arguments;
};

Result<RebaseBody> parse_rebase(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, json::parse_object(request.body));
    GOLDLINK_TRY(json::only_fields(body, {"id", "lun", "from", "version", "take", "force"}));
    RebaseBody rebase;
    GOLDLINK_TRY_ASSIGN(rebase.id, json::string_field(body, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(const auto lun, optional_lun(body));
    GOLDLINK_TRY_ASSIGN(const auto from, json::string_field(body, "from", 64, 64));
    GOLDLINK_TRY(check_version_digest(from));
    GOLDLINK_TRY_ASSIGN(const auto to, json::string_field(body, "version", 64, 64));
    GOLDLINK_TRY(check_version_digest(to));
    GOLDLINK_TRY_ASSIGN(const auto take, json::string_field(body, "take", 1, 16));
    if (take != "fresh" && take != "written")
        return failure(ErrorKind::invalid, "field 'take' must be fresh or written");
    GOLDLINK_TRY_ASSIGN(const auto force, json::optional_bool(body, "force"));
    rebase.arguments = {{"link", request.params.at("id")},
                        {"lun", std::to_string(lun.value_or(0))},
                        {"from", from},
                        {"to", to},
                        {"take", take}};
    if (force.value_or(false)) rebase.arguments["force"] = "true";
    return rebase;
}

http::Response post_rebase(ControlContext& context, const http::Request& request) {
    auto body = parse_rebase(request);
    if (!body) return http::problem(body.error());
    if (!context.links.view(request.params.at("id"))) return get_link(context, request);
    auto report = context.tasks.add({body->id, "rebase", std::move(body->arguments)});
    if (!report) return http::problem(report.error());
    return respond_text(202, std::move(*report));
}

http::Response post_compare(ControlContext& context, const http::Request& request) {
    const auto body = json::parse_object(request.body);
    if (!body) return http::problem(body.error());
    if (auto known = json::only_fields(*body, {"lun", "version"}); !known)
        return http::problem(known.error());
    const auto lun = optional_lun(*body);
    if (!lun) return http::problem(lun.error());
    const auto version = json::string_field(*body, "version", 64, 64);
    if (!version) return http::problem(version.error());
    const auto found = context.links.compare(request.params.at("id"), *lun, *version);
    if (!found) return respond(found.error());
    const store::Overlap& overlap = found->overlap;
    json::array ranges;
    for (const auto& range : overlap.ranges)
        ranges.push_back(json::object{{"offset_bytes", range.offset_bytes},
                                      {"length_bytes", range.length_bytes}});
    json::array partitions;
    for (const auto& shared : overlap.shared) {
        json::object one{{"number", nullptr},
                         {"offset_bytes", shared.partition.offset_bytes},
                         {"length_bytes", shared.partition.length_bytes},
                         {"mine_bytes", shared.mine_bytes},
                         {"theirs_bytes", shared.theirs_bytes}};
        if (shared.partition.number > 0) one["number"] = shared.partition.number;
        partitions.push_back(std::move(one));
    }
    return respond_json(200, json::object{{"base", found->base},
                                          {"version", *version},
                                          {"mine_bytes", overlap.mine_bytes},
                                          {"theirs_bytes", overlap.theirs_bytes},
                                          {"both_bytes", overlap.both_bytes},
                                          {"range_count", overlap.range_count},
                                          {"ranges", std::move(ranges)},
                                          {"partitions", std::move(partitions)},
                                          {"exact", overlap.exact}});
}

}  // namespace

void add_link_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back({"PUT", "/links", [&c](Request& r) { return put_links(c, r); }, kMaxSetBytes});
    routes.push_back({"GET", "/links", [&c](Request&) { return get_links(c); }});
    routes.push_back({"PUT", "/links/{id}", [&c](Request& r) { return put_link(c, r); }});
    routes.push_back({"GET", "/links/{id}", [&c](Request& r) { return get_link(c, r); }});
    routes.push_back({"DELETE", "/links/{id}", [&c](Request& r) { return delete_link(c, r); }});
    routes.push_back({"POST", "/links/{id}/boots", [&c](Request& r) { return post_boot(c, r); }});
    routes.push_back({"POST", "/links/{id}/reset", [&c](Request& r) { return post_reset(c, r); }});
    routes.push_back(
        {"PUT", "/links/{id}/redirect", [&c](Request& r) { return put_redirect(c, r); }});
    routes.push_back(
        {"DELETE", "/links/{id}/redirect", [&c](Request& r) { return delete_redirect(c, r); }});
    routes.push_back(
        {"POST", "/links/{id}/compare", [&c](Request& r) { return post_compare(c, r); }});
    routes.push_back(
        {"POST", "/links/{id}/rebase", [&c](Request& r) { return post_rebase(c, r); }});
    for (const auto& [path, kind] : {std::pair{"verify", "check"}, std::pair{"salvage", "salvage"}})
        routes.push_back({"POST", fmt::format("/links/{{id}}/{}", path),
                          [&c, kind = kind](Request& r) { return post_disk_task(c, r, kind); }});
    for (const char* kind : {"commit", "save"})
        routes.push_back({"POST", std::string("/links/{id}/") + kind,
                          [&c, kind](Request& r) { return post_disk_task(c, r, kind); }});
}

}  // namespace goldlink::control
