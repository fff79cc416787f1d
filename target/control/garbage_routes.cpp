// GET /gc: what could go. POST /gc: what of it shall, or, with dry_run, would.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/digest.hpp"
#include "common/json.hpp"
#include "target/control/control_context.hpp"
#include "target/control/transfers.hpp"

namespace goldlink::control {
namespace {

// A task's arguments are texts of at most 8 KiB.
constexpr std::size_t kDigestsAnArgument = 100, kUploadsAnArgument = 50;

void put_list(TaskRequest& task, std::string_view name, const std::vector<std::string>& values,
              std::size_t at_once) {
    for (std::size_t at = 0; at < values.size(); at += at_once) {
        const std::size_t end = std::min(values.size(), at + at_once);
        task.arguments[fmt::format("{}:{:06}", name, at)] =
            fmt::format("{}", fmt::join(values.begin() + static_cast<std::ptrdiff_t>(at),
                                        values.begin() + static_cast<std::ptrdiff_t>(end), ","));
    }
}

void get_list(const TaskRequest& task, std::string_view name, std::vector<std::string>& values) {
    for (const auto& [argument, text] : task.arguments) {
        if (!argument.starts_with(fmt::format("{}:", name))) continue;
        for (std::size_t at = 0; at <= text.size();) {
            const std::size_t comma = std::min(text.find(',', at), text.size());
            values.push_back(text.substr(at, comma - at));
            at = comma + 1;
        }
    }
}

Result<std::vector<std::string>> strings_field(const json::object& body, std::string_view name,
                                               std::size_t at_most) {
    GOLDLINK_TRY_ASSIGN(const json::array items, json::array_field(body, name, at_most));
    std::vector<std::string> values;
    for (const json::value& item : items) {
        const auto* text = item.if_string();
        if (text == nullptr || text->empty() || text->size() > 128 ||
            text->find(',') != boost::json::string::npos)
            return failure(ErrorKind::invalid,
                           fmt::format("field '{}' must hold texts of 1 to 128 bytes", name));
        values.emplace_back(*text);
    }
    return values;
}

struct Asked {
    GarbageRequest request;
    bool dry_run = false;
    std::string id;
};

Result<Asked> parse_asked(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"id", "mark", "versions", "uploads", "dry_run"}));
    Asked asked;
    GOLDLINK_TRY_ASSIGN(const auto dry_run, json::optional_bool(body, "dry_run"));
    asked.dry_run = dry_run.value_or(false);
    if (!asked.dry_run) {
        GOLDLINK_TRY_ASSIGN(asked.id, json::string_field(body, "id", 1, 64));
    }
    GOLDLINK_TRY_ASSIGN(asked.request.mark, json::string_field(body, "mark", 1, 64));
    GOLDLINK_TRY_ASSIGN(asked.request.versions,
                        strings_field(body, "versions", GarbageRequest::kMaxVersions));
    for (const std::string& digest : asked.request.versions) GOLDLINK_TRY(parse_digest(digest));
    GOLDLINK_TRY_ASSIGN(asked.request.uploads,
                        strings_field(body, "uploads", GarbageRequest::kMaxUploads));
    return asked;
}

json::object report_json(const GarbageReport& report) {
    json::array items, kept;
    for (const GarbageItem& item : report.items) {
        json::object o{{"kind", item.kind}, {"name", item.name}, {"bytes", item.bytes}};
        o["own_bytes"] = item.own_bytes ? json::value(*item.own_bytes) : json::value(nullptr);
        o["reason"] = item.reason;
        items.push_back(std::move(o));
    }
    for (const GarbageReport::Kept& one : report.kept)
        kept.push_back(json::object{{"kind", one.kind}, {"name", one.name}, {"why", one.why}});
    return {{"items", std::move(items)}, {"kept", std::move(kept)}, {"bytes", report.bytes()}};
}

http::Response get_garbage(ControlContext& context) {
    const auto found = context.garbage.candidates();
    if (!found) return http::problem(found.error());
    json::array versions, uploads;
    for (const auto& [info, tasks] : found->versions)
        versions.push_back(json::object{{"digest", info.digest},
                                        {"size_bytes", info.size_bytes},
                                        {"unique_bytes", info.unique_bytes},
                                        {"tasks", json::array(tasks.begin(), tasks.end())}});
    for (const SpooledFile& upload : found->uploads)
        uploads.push_back(json::object{{"name", upload.name}, {"bytes", upload.bytes}});
    return respond_json(200, json::object{{"mark", found->mark},
                                          {"versions", std::move(versions)},
                                          {"uploads", std::move(uploads)}});
}

http::Response post_garbage(ControlContext& context, const http::Request& request) {
    const auto asked = parse_asked(request);
    if (!asked) return http::problem(asked.error());
    if (asked->dry_run) {
        const auto report = context.garbage.look(asked->request);
        if (!report) return http::problem(report.error());
        return respond_json(200, report_json(*report));
    }
    if (const auto fits = context.garbage.check_mark(asked->request.mark); !fits)
        return http::problem(fits.error());
    context.transfers.make_room();
    TaskRequest task{asked->id, "gc", {{"mark", asked->request.mark}}};
    put_list(task, "versions", asked->request.versions, kDigestsAnArgument);
    put_list(task, "uploads", asked->request.uploads, kUploadsAnArgument);
    auto report = context.tasks.add(std::move(task));
    if (!report) return http::problem(report.error());
    return respond_text(202, std::move(*report));
}

}  // namespace

Result<std::string> run_gc(const TaskRequest& task, store::Progress& progress,
                           GarbageCollector& garbage) {
    GarbageRequest request;
    request.mark = task.arguments.at("mark");
    get_list(task, "versions", request.versions);
    get_list(task, "uploads", request.uploads);
    GOLDLINK_TRY_ASSIGN(const GarbageReport report, garbage.collect(request, progress));
    return "\"gc\":" + json::serialize(report_json(report));
}

void add_garbage_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back({"GET", "/gc", [&c](Request&) { return get_garbage(c); }});
    routes.push_back({"POST", "/gc", [&c](Request& r) { return post_garbage(c, r); }});
}

}  // namespace goldlink::control
