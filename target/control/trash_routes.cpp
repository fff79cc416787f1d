// The trash: kept disks of removed links, listed, restored, let go.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <ctime>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

json::object entry_json(const TrashEntry& entry, std::chrono::seconds keep_for) {
    json::object o{{"id", entry.id},
                   {"link_id", entry.link_id},
                   {"why", entry.why},
                   {"removed_at", entry.removed_at},
                   {"expires_at", nullptr},
                   {"bytes", entry.bytes},
                   {"restorable", entry.link.has_value()},
                   {"iqn", nullptr},
                   {"alias", nullptr},
                   {"problem", nullptr}};
    if (entry.problem.empty()) o["expires_at"] = entry.removed_at + keep_for.count();
    if (!entry.problem.empty()) o["problem"] = entry.problem;
    json::array disks;
    if (entry.link) {
        o["iqn"] = entry.link->definition.iqn;
        o["alias"] = entry.link->definition.alias;
        for (const DiskState& disk : entry.link->current.disks)
            disks.push_back(json::object{
                {"lun", disk.lun},
                {"version", disk.version},
                {"policy", to_string(disk.policy)},
                {"type", to_string(disk.type)},
                {"logical_block_bytes", disk.logical_block_bytes},
                {"quota_bytes",
                 disk.quota_bytes == 0 ? json::value(nullptr) : json::value(disk.quota_bytes)},
                {"kept", std::ranges::find(entry.overlays, disk.overlay) != entry.overlays.end()}});
    }
    o["disks"] = std::move(disks);
    return o;
}

http::Response list_trash(ControlContext& context) {
    const OverlayTrash& trash = context.links.trash();
    json::array entries;
    for (const TrashEntry& entry : trash.list())
        entries.push_back(entry_json(entry, trash.keep_for()));
    return respond_json(200, json::object{{"entries", std::move(entries)},
                                          {"keep_seconds", trash.keep_for().count()}});
}

http::Response restore(ControlContext& context, const http::Request& request) {
    const auto view = context.links.restore(request.params.at("id"));
    if (!view) return respond(view.error());
    return respond_link(context, *view);
}

http::Response remove(ControlContext& context, const http::Request& request) {
    if (const auto removed = context.links.trash().remove(request.params.at("id")); !removed)
        return http::problem(removed.error());
    return respond_text(204, "");
}

}  // namespace

void add_trash_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back({"GET", "/trash", [&c](Request&) { return list_trash(c); }});
    routes.push_back({"POST", "/trash/{id}/restore", [&c](Request& r) { return restore(c, r); }});
    routes.push_back({"DELETE", "/trash/{id}", [&c](Request& r) { return remove(c, r); }});
}

}  // namespace goldlink::control
