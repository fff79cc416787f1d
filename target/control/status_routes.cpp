// Status, metrics, events.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <span>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

std::uint64_t uptime_seconds(const ControlContext& context) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                          std::chrono::steady_clock::now() - context.started)
                                          .count());
}

json::value text_or_null(const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(text);
}

http::Response get_status(ControlContext& context) {
    json::array portals;
    for (const std::string& portal : context.portals.addresses()) portals.emplace_back(portal);
    return respond_json(
        200, json::object{
                 {"version", GOLDLINK_VERSION},
                 {"target_id", context.registry.target_id()},
                 {"portals", std::move(portals)},
                 {"revision", context.links.revision()},
                 {"links", context.links.size()},
                 {"links_ready", context.serving.ready()},
                 {"sessions", context.portals.session_count()},
                 {"store", json::object{{"problem", text_or_null(context.store.problem())},
                                        {"free_bytes", context.store.free_bytes()},
                                        {"resident_bytes", context.store.resident_bytes()},
                                        {"pinned_bytes", context.store.pinned_bytes()}}},
                 {"overlay", json::object{{"free_bytes", free_bytes_at(context.overlay_folder)}}},
                 {"io", context.io_kind},
                 {"problems", problems_json(context.problems.list())},
                 {"state_problem", text_or_null(context.links.state_problem())},
                 {"uptime_seconds", uptime_seconds(context)}});
}

// One metric family; its samples differ in their labels.
class Family {
  public:
    Family(std::string& out, std::string_view name, std::string_view type, std::string_view help)
        : out_(out), name_(name) {
        out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
    void add(std::string_view labels, std::uint64_t value) {
        out_ += fmt::format("{}{} {}\n", name_, labels, value);
    }

  private:
    std::string& out_;
    std::string_view name_;
};

struct PortalMetric {
    std::string_view name;
    std::string_view type;
    std::string_view help;
    std::uint64_t iscsi::PortalCounters::*counter;
};

constexpr PortalMetric kPortalMetrics[] = {
    {"goldlink_sessions", "gauge", "iSCSI sessions in full feature phase",
     &iscsi::PortalCounters::sessions},
    {"goldlink_connections_accepted_total", "counter", "Connections accepted",
     &iscsi::PortalCounters::connections_accepted},
    {"goldlink_logins_total", "counter", "Logins that reached full feature phase",
     &iscsi::PortalCounters::logins},
    {"goldlink_logins_refused_total", "counter", "Logins refused or timed out",
     &iscsi::PortalCounters::logins_refused},
    {"goldlink_logins_redirected_total", "counter", "Logins sent on to another portal",
     &iscsi::PortalCounters::logins_redirected},
    {"goldlink_commands_total", "counter", "SCSI commands", &iscsi::PortalCounters::commands},
    {"goldlink_read_bytes_total", "counter", "Bytes sent to initiators",
     &iscsi::PortalCounters::data_in_bytes},
    {"goldlink_written_bytes_total", "counter", "Bytes taken from initiators",
     &iscsi::PortalCounters::data_out_bytes},
    {"goldlink_rejects_total", "counter", "Reject PDUs sent", &iscsi::PortalCounters::rejects},
    {"goldlink_digest_errors_total", "counter", "PDUs with a wrong digest",
     &iscsi::PortalCounters::digest_errors},
    {"goldlink_task_management_total", "counter", "Task management requests",
     &iscsi::PortalCounters::task_management},
};

struct LimitMetric {
    std::string_view limit;
    std::uint64_t iscsi::PortalCounters::*counter;
};

// Why connections were refused or dropped; the options of goldlink-target say at what number.
constexpr LimitMetric kRefusals[] = {
    {"connections", &iscsi::PortalCounters::refused_total},
    {"connections_per_address", &iscsi::PortalCounters::refused_address},
    {"logins_per_second", &iscsi::PortalCounters::refused_rate},
    {"sessions_per_initiator", &iscsi::PortalCounters::session_limit_refusals},
};
constexpr LimitMetric kDrops[] = {
    {"half_open", &iscsi::PortalCounters::half_open_dropped},
    {"login_timeout", &iscsi::PortalCounters::login_timeouts},
    {"slow_reader", &iscsi::PortalCounters::slow_readers},
    {"slow_writer", &iscsi::PortalCounters::slow_writers},
    {"silent", &iscsi::PortalCounters::silent_peers},
    {"discovery", &iscsi::PortalCounters::discovery_dropped},
};

void add_limits(Family family, std::span<const LimitMetric> limits,
                const std::vector<iscsi::PortalCounters>& counters) {
    for (const LimitMetric& metric : limits) {
        std::uint64_t total = 0;
        for (const iscsi::PortalCounters& one : counters) total += one.*metric.counter;
        family.add(fmt::format("{{limit=\"{}\"}}", metric.limit), total);
    }
}

}  // namespace

std::string render_metrics(ControlContext& context) {
    std::string out;
    const std::vector<iscsi::PortalCounters> counters = context.portals.counters();
    for (const PortalMetric& metric : kPortalMetrics) {
        Family family(out, metric.name, metric.type, metric.help);
        for (std::size_t i = 0; i < counters.size(); ++i)
            family.add(fmt::format("{{reactor=\"{}\"}}", i), counters[i].*metric.counter);
    }
    add_limits(Family(out, "goldlink_connections_refused_total", "counter",
                      "Connections refused, by the limit that was reached"),
               kRefusals, counters);
    add_limits(Family(out, "goldlink_connections_dropped_total", "counter",
                      "Connections dropped, by what they did not do in time"),
               kDrops, counters);
    std::uint64_t ready = 0;
    disk::OverlayUsage overlay;
    const std::vector<LinkView> views = context.links.view_all();
    for (const LinkView& view : views) {
        ready += view.report.ready ? 1 : 0;
        overlay.used_bytes += view.report.overlay.used_bytes;
        overlay.ram_bytes += view.report.overlay.ram_bytes;
    }
    Family(out, "goldlink_links", "gauge", "Links this target knows").add("", views.size());
    Family(out, "goldlink_links_ready", "gauge", "Links that take logins").add("", ready);
    Family(out, "goldlink_overlay_used_bytes", "gauge", "Overlay slots in use, all links")
        .add("", overlay.used_bytes);
    Family(out, "goldlink_overlay_ram_bytes", "gauge", "Of which in memory")
        .add("", overlay.ram_bytes);
    Family image(out, "goldlink_image_reads_total", "counter",
                 "Reads of a version by its links, by page cache");
    for (const auto& [version, reads] : context.links.reads_by_version()) {
        image.add(fmt::format("{{version=\"{}\",cache=\"hit\"}}", version), reads.cache_hits);
        image.add(fmt::format("{{version=\"{}\",cache=\"miss\"}}", version), reads.cache_misses);
    }
    Family(out, "goldlink_image_resident_bytes", "gauge",
           "Image chunks kept in locked memory: read most, or pinned")
        .add("", context.store.resident_bytes());
    Family(out, "goldlink_image_pinned_bytes", "gauge", "Of which pinned: they stay")
        .add("", context.store.pinned_bytes());
    Family free(out, "goldlink_free_bytes", "gauge", "Free space on the filesystem");
    free.add("{of=\"store\"}", context.store.free_bytes());
    free.add("{of=\"overlay\"}", free_bytes_at(context.overlay_folder));
    Family(out, "goldlink_uptime_seconds", "gauge", "Since the start")
        .add("", uptime_seconds(context));
    return out;
}

void add_status_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back({"GET", "/status", [&c](Request&) { return get_status(c); }});
    routes.push_back({"GET", "/metrics", [&c](Request&) {
                          http::Response response = respond_text(200, render_metrics(c));
                          response.content_type = "text/plain; version=0.0.4";
                          return response;
                      }});
    routes.push_back({"GET", "/events", [&c](Request& r) { return serve_events(c.events, r); }});
}

}  // namespace goldlink::control
