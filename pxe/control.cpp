#include "pxe/control.hpp"

#include <fmt/format.h>

#include "common/http/live.hpp"
#include "common/json.hpp"
#include "common/log.hpp"

namespace goldlink::pxe {

namespace {

constexpr std::size_t kMaxTableBody = 32 << 20;
constexpr std::chrono::seconds kLiveLimit{3};

http::Response put_table(const ControlState& state, const http::Request& request) {
    const auto before = state.tables.table();
    const auto table = state.tables.put(request.body);
    if (!table) {
        const Error& error = table.error();
        const auto parsed = error.kind == ErrorKind::conflict ? table_from_json(request.body)
                                                              : Result<BootTable>(Failure(error));
        if (parsed)  // well in itself, so it is the revision
            return http::problem(409, "stale-revision",
                                 "This boot table is older than the one held",
                                 error.message + "; read the registry again and push its state");
        return http::problem(error);
    }
    if (before->revision() != (*table)->revision())
        log::info("boot table revision {}: {} clients", (*table)->revision(),
                  (*table)->clients().size());
    http::Response response;
    response.body = json::serialize(
        json::object{{"revision", (*table)->revision()}, {"clients", (*table)->clients().size()}});
    return response;
}

http::Response get_table(const ControlState& state) {
    http::Response response;
    response.body = table_to_json(*state.tables.table());
    return response;
}

http::Response status(const ControlState& state) {
    const auto table = state.tables.table();
    json::array interfaces;
    for (const std::string& name : state.interfaces()) interfaces.emplace_back(name);
    json::array boot_files;
    // Debian's folder also holds option ROMs for flashing and for QEMU, which nobody boots.
    for (const std::string& name : state.files.names())
        if (!name.ends_with(".rom")) boot_files.emplace_back(name);
    const std::chrono::duration<double> up = std::chrono::steady_clock::now() - state.started;
    http::Response response;
    response.body = json::serialize(json::object{
        {"version", GOLDLINK_VERSION},
        {"mode", state.mode},
        {"interfaces", std::move(interfaces)},
        {"http_port", state.http_port},
        {"tftp_port", state.tftp_port == 0 ? json::value(nullptr) : json::value(state.tftp_port)},
        {"revision", table->revision()},
        {"clients", table->clients().size()},
        {"boots", state.boots.size()},
        {"transfers", state.metrics.tftp_running.load()},
        {"boot_files",
         json::object{{"folder", state.files.folder().string()}, {"files", std::move(boot_files)}}},
        {"last_event", state.events.last_seq()},
        {"problems", problems_json(state.problems.list())},
        {"uptime_seconds", static_cast<std::int64_t>(up.count())}});
    return response;
}

// For who supervises this process: it answers while the threads that serve machines turn.
http::Response live(const ControlState& state) {
    const std::string stuck = state.stuck(kLiveLimit);
    if (!stuck.empty())
        return http::problem(
            503, http::kNotLive, "A thread of this server stands still",
            fmt::format("the {} thread did not answer within {} s", stuck, kLiveLimit.count()));
    http::Response response;
    response.body = "{}";
    return response;
}

http::Response metrics(const ControlState& state) {
    http::Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = state.metrics.prometheus_text();
    return response;
}

}  // namespace

std::vector<http::Route> control_routes(const ControlState& state) {
    std::vector<http::Route> routes;
    routes.push_back({"PUT", "/table",
                      [state](http::Request& request) { return put_table(state, request); },
                      kMaxTableBody});
    routes.push_back({"GET", "/table", [state](http::Request&) { return get_table(state); }});
    routes.push_back({"GET", "/events", [&events = state.events](http::Request& request) {
                          return serve_events(events, request);
                      }});
    routes.push_back({"GET", "/status", [state](http::Request&) { return status(state); }});
    routes.push_back({"GET", "/live", [state](http::Request&) { return live(state); }});
    routes.push_back({"GET", "/metrics", [state](http::Request&) { return metrics(state); }});
    return routes;
}

}  // namespace goldlink::pxe
