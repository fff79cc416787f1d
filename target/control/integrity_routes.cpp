// What is damaged in the store, and mending it.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "common/json.hpp"
#include "target/control/control_context.hpp"
#include "target/control/import_files.hpp"
#include "target/control/store_health.hpp"

namespace goldlink::control {
namespace {

Result<TaskRequest> parse_repair(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"id", "upload", "path", "format"}));
    TaskRequest task;
    task.kind = "repair";
    task.arguments["digest"] = request.params.at("digest");
    GOLDLINK_TRY_ASSIGN(task.id, json::string_field(body, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(const auto upload, json::optional_string(body, "upload", 128));
    GOLDLINK_TRY_ASSIGN(const auto path, json::optional_string(body, "path", 4096));
    GOLDLINK_TRY_ASSIGN(const auto format, json::optional_string(body, "format", 16));
    if (upload.has_value() == path.has_value())
        return failure(ErrorKind::invalid, "exactly one of 'upload' and 'path' must be given");
    if (path && !path->starts_with("/"))
        return failure(ErrorKind::invalid, "field 'path' must be absolute");
    if (upload)
        task.arguments["upload"] = *upload;
    else
        task.arguments["path"] = *path;
    task.arguments["format"] = format.value_or("");
    return task;
}

http::Response post_repair(ControlContext& context, const http::Request& request) {
    auto task = parse_repair(request);
    if (!task) return http::problem(task.error());
    const auto versions = context.store.list();
    if (!versions) return http::problem(versions.error());
    const std::string& digest = task->arguments["digest"];
    if (std::none_of(versions->begin(), versions->end(),
                     [&](const store::VersionInfo& info) { return info.digest == digest; }))
        return http::problem(Error{ErrorKind::not_found,
                                   fmt::format("there is no version {}", digest.substr(0, 64)), 0});
    if (!context.tasks.report(task->id) && task->arguments.contains("upload"))
        if (auto found = context.uploads.find(task->arguments["upload"]); !found)
            return http::problem(found.error());
    auto report = context.tasks.add(std::move(*task));
    if (!report) return http::problem(report.error());
    return respond_text(202, std::move(*report));
}

}  // namespace

json::value damage_json(const std::string& damage) {
    return damage.empty() ? json::value(nullptr) : json::value(damage);
}

std::string findings_member(const std::vector<store::VerifyFinding>& findings) {
    json::array array;
    for (const auto& finding : findings) {
        json::array uses;
        for (const auto& use : finding.uses)
            uses.push_back(
                json::object{{"version", use.version_digest}, {"offset_bytes", use.offset_bytes}});
        array.push_back(json::object{{"chunk_digest", finding.chunk_digest},
                                     {"why", store::to_string(finding.reason)},
                                     {"since", finding.since},
                                     {"uses", std::move(uses)}});
    }
    return "\"findings\":" + json::serialize(array);
}

Result<std::string> run_repair(const TaskRequest& request, store::Progress& progress,
                               LinkTable& links, store::ImageStore& store,
                               const TransferFolders& folders) {
    GOLDLINK_TRY_ASSIGN(const store::ImportRequest from, import_request(request, folders));
    GOLDLINK_TRY_ASSIGN(const store::RepairResult done,
                        store.repair(request.arguments.at("digest"), from, progress));
    if (const auto upload = request.arguments.find("upload"); upload != request.arguments.end())
        (void)folders.uploads.remove(upload->second);
    links.retry_problems();
    return "\"repair\":" + json::serialize(json::object{{"bad_chunks", done.bad_chunks},
                                                        {"mended_chunks", done.mended_chunks},
                                                        {"manifest_mended", done.manifest_mended}});
}

void add_integrity_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back(
        {"POST", "/versions/{digest}/repair", [&c](Request& r) { return post_repair(c, r); }});
}

}  // namespace goldlink::control
