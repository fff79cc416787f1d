// Uploads, imports and the other tasks, versions.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "common/json.hpp"
#include "target/control/control_context.hpp"

namespace goldlink::control {
namespace {

http::Response put_upload(ControlContext& context, http::Request& request) {
    const auto received = context.uploads.receive(request.params.at("name"), *request.body_reader);
    if (!received) return http::problem(received.error());
    return respond_json(200, json::object{{"bytes", *received}});
}

http::Response delete_upload(ControlContext& context, const http::Request& request) {
    const auto removed = context.uploads.remove(request.params.at("name"));
    if (!removed) return http::problem(removed.error());
    return respond_text(204, "");
}

Result<TaskRequest> parse_import(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"id", "upload", "path", "format", "blank_bytes"}));
    TaskRequest task;
    task.kind = "import";
    GOLDLINK_TRY_ASSIGN(task.id, json::string_field(body, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(const auto upload, json::optional_string(body, "upload", 128));
    GOLDLINK_TRY_ASSIGN(const auto path, json::optional_string(body, "path", 4096));
    GOLDLINK_TRY_ASSIGN(const auto format, json::optional_string(body, "format", 16));
    GOLDLINK_TRY_ASSIGN(const auto blank, json::optional_int(body, "blank_bytes", 1, INT64_MAX));
    if (int{upload.has_value()} + int{path.has_value()} + int{blank.has_value()} != 1)
        return failure(ErrorKind::invalid,
                       "exactly one of 'upload', 'path' and 'blank_bytes' must be given");
    if (blank) {
        if (format) return failure(ErrorKind::invalid, "a blank disk has no field 'format'");
        task.arguments["blank_bytes"] = std::to_string(*blank);
        return task;
    }
    if (upload) {
        task.arguments["upload"] = *upload;
    } else {
        if (!path->starts_with("/"))
            return failure(ErrorKind::invalid, "field 'path' must be absolute");
        task.arguments["path"] = *path;
    }
    task.arguments["format"] = format.value_or("");
    if (!task.arguments["format"].empty()) {
        constexpr std::string_view kFormats[] = {"raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"};
        if (std::find(std::begin(kFormats), std::end(kFormats), *format) == std::end(kFormats))
            return failure(ErrorKind::invalid, fmt::format("format '{}' is unknown; known are {}",
                                                           *format, fmt::join(kFormats, ", ")));
    }
    return task;
}

http::Response add_task(ControlContext& context, TaskRequest task) {
    auto report = context.tasks.add(std::move(task));
    if (!report) return http::problem(report.error());
    return respond_text(202, std::move(*report));
}

http::Response post_import(ControlContext& context, const http::Request& request) {
    auto task = parse_import(request);
    if (!task) return http::problem(task.error());
    // Asked before queueing, so that the mistake is told at once; a known id has its answer
    // already.
    if (!context.tasks.report(task->id)) {
        std::error_code error;
        if (task->arguments.contains("upload")) {
            if (auto found = context.uploads.find(task->arguments["upload"]); !found)
                return http::problem(found.error());
        } else if (task->arguments.contains("path") &&
                   !std::filesystem::exists(task->arguments["path"], error)) {
            return http::problem(
                404, "no-such-file", "No such file",
                fmt::format("there is no file {} on this node", task->arguments["path"]));
        }
    }
    return add_task(context, std::move(*task));
}

http::Response get_task(ControlContext& context, const http::Request& request) {
    auto report = context.tasks.report(request.params.at("id"));
    if (!report)
        return http::problem(404, "no-such-task", "No such task",
                             fmt::format("there is no import or task {}", request.params.at("id")));
    return respond_text(200, std::move(*report));
}

http::Response get_tasks(ControlContext& context) {
    return respond_text(200, fmt::format("[{}]", fmt::join(context.tasks.reports(), ",")));
}

http::Response delete_task(ControlContext& context, const http::Request& request) {
    const auto removed = context.tasks.remove(request.params.at("id"));
    if (!removed) return http::problem(removed.error());
    return respond_text(204, "");
}

json::object version_json(const store::VersionInfo& info) {
    return {{"digest", info.digest},
            {"size_bytes", info.size_bytes},
            {"stored_bytes", info.stored_bytes},
            {"unique_bytes", info.unique_bytes}};
}

using ReadsByVersion = std::map<std::string, disk::ReadCounters>;

json::object version_json(ControlContext& context, const ReadsByVersion& reads,
                          const store::VersionInfo& info) {
    json::object o = version_json(info);
    o["open"] = !context.links.users_of_version(info.digest).empty();
    const auto found = reads.find(info.digest);
    const disk::ReadCounters counted = found == reads.end() ? disk::ReadCounters{} : found->second;
    o["reads"] =
        json::object{{"cache_hits", counted.cache_hits}, {"cache_misses", counted.cache_misses}};
    o["boot_trace"] = nullptr;
    if (const auto trace = context.traces.info(info.digest)) {
        json::object shown{{"bytes", trace->chunks * store::kChunkBytes},
                           {"recorded_at", trace->recorded_at},
                           {"inherited", trace->inherited},
                           {"prewarmed_at", nullptr},
                           {"prewarmed_bytes", trace->prewarmed_bytes}};
        if (!trace->prewarmed_at.empty()) shown["prewarmed_at"] = trace->prewarmed_at;
        o["boot_trace"] = std::move(shown);
    }
    return o;
}

Result<store::VersionInfo> find_version(const ControlContext& context, const std::string& digest) {
    GOLDLINK_TRY_ASSIGN(const auto versions, context.store.list());
    for (const auto& info : versions)
        if (info.digest == digest) return info;
    return failure(ErrorKind::not_found,
                   fmt::format("there is no version {}", digest.substr(0, 64)));
}

http::Response get_versions(ControlContext& context) {
    const auto versions = context.store.list();
    if (!versions) return http::problem(versions.error());
    json::array array;
    const ReadsByVersion reads = context.links.reads_by_version();
    for (const auto& info : *versions) array.push_back(version_json(context, reads, info));
    return respond_json(200, array);
}

http::Response get_version(ControlContext& context, const http::Request& request) {
    const auto info = find_version(context, request.params.at("digest"));
    if (!info) return http::problem(info.error());
    return respond_json(200, version_json(context, context.links.reads_by_version(), *info));
}

http::Response delete_version(ControlContext& context, const http::Request& request) {
    const std::string& digest = request.params.at("digest");
    std::vector<std::string> users = context.links.users_of_version(digest);
    if (!users.empty()) {
        Error error{
            ErrorKind::conflict,
            fmt::format(
                "version {} is used by {} link{}; give them another version or delete them first",
                digest, users.size(), users.size() == 1 ? "" : "s"),
            0};
        return respond(OperationError{std::move(error), "version-in-use", std::move(users)});
    }
    const auto removed = context.store.remove(digest);
    if (removed) context.links.version_removed(digest);
    if (removed || removed.error().kind == ErrorKind::not_found) return respond_text(204, "");
    if (removed.error().kind == ErrorKind::conflict)
        return respond(OperationError{removed.error(), "version-in-use", {}});
    return http::problem(removed.error());
}

http::Response post_version_task(ControlContext& context, const http::Request& request,
                                 const std::string& kind) {
    const std::string& digest = request.params.at("digest");
    const auto parse = [&]() -> Result<TaskRequest> {
        GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
        TaskRequest task;
        task.kind = kind;
        task.arguments["digest"] = digest;
        GOLDLINK_TRY_ASSIGN(task.id, json::string_field(body, "id", 1, 64));
        if (kind == "verify" || kind == "prewarm") {
            GOLDLINK_TRY(json::only_fields(body, {"id"}));
            return task;
        }
        GOLDLINK_TRY(json::only_fields(body, {"id", "path", "format"}));
        GOLDLINK_TRY_ASSIGN(task.arguments["path"], json::string_field(body, "path", 1, 4096));
        if (!task.arguments["path"].starts_with("/"))
            return failure(ErrorKind::invalid, "field 'path' must be absolute");
        GOLDLINK_TRY_ASSIGN(const auto format, json::optional_string(body, "format", 16));
        task.arguments["format"] = format.value_or("raw");
        return task;
    };
    auto task = parse();
    if (!task) return http::problem(task.error());
    if (const auto info = find_version(context, digest); !info) return http::problem(info.error());
    return add_task(context, std::move(*task));
}

std::string version_member(const store::VersionInfo& info) {
    return "\"version\":" + json::serialize(version_json(info));
}

std::string findings_member(const std::vector<store::VerifyFinding>& findings) {
    json::array array;
    for (const auto& finding : findings) {
        json::array uses;
        for (const auto& use : finding.uses)
            uses.push_back(
                json::object{{"version", use.version_digest}, {"offset_bytes", use.offset_bytes}});
        array.push_back(
            json::object{{"chunk_digest", finding.chunk_digest}, {"uses", std::move(uses)}});
    }
    return "\"findings\":" + json::serialize(array);
}

// An argument of a task as its file had it.
template <typename Number>
Result<Number> parse_number(const std::string& text) {
    Number number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (stop != end || error != std::errc())
        return failure(ErrorKind::corrupt, fmt::format("'{}' is no number", text));
    return number;
}

Result<std::string> run_import(const TaskRequest& request, store::Progress& progress,
                               LinkTable& links, store::ImageStore& store, UploadSpool& uploads) {
    if (const auto blank = request.arguments.find("blank_bytes");
        blank != request.arguments.end()) {
        GOLDLINK_TRY_ASSIGN(const auto size, parse_number<std::uint64_t>(blank->second));
        GOLDLINK_TRY_ASSIGN(const store::VersionInfo made, store.make_blank(size));
        links.retry_problems();
        return version_member(made);
    }
    store::ImportRequest import;
    import.format = request.arguments.at("format");
    const auto upload = request.arguments.find("upload");
    if (upload != request.arguments.end()) {
        GOLDLINK_TRY_ASSIGN(import.file, uploads.find(upload->second));
    } else {
        import.file = request.arguments.at("path");
    }
    GOLDLINK_TRY_ASSIGN(const store::VersionInfo info, store.import(import, progress));
    // Cancelled or failed, the file stays for another try; imported, it is only in the way.
    if (upload != request.arguments.end()) (void)uploads.remove(upload->second);
    links.retry_problems();
    return version_member(info);
}

// The disk a commit or save is of; nullopt when its caller left that to the link.
Result<std::optional<std::uint16_t>> named_lun(const TaskRequest& request) {
    const auto named = request.arguments.find("lun");
    if (named == request.arguments.end()) return std::optional<std::uint16_t>();
    GOLDLINK_TRY_ASSIGN(const auto lun, parse_number<std::uint16_t>(named->second));
    return std::optional(lun);
}

}  // namespace

Result<std::string> run_task(const TaskRequest& request, store::Progress& progress,
                             LinkTable& links, store::ImageStore& store, UploadSpool& uploads,
                             BootTraces& traces) {
    if (request.kind == "import") return run_import(request, progress, links, store, uploads);
    if (request.kind == "commit" || request.kind == "save") {
        GOLDLINK_TRY_ASSIGN(const auto lun, named_lun(request));
        const std::string& link = request.arguments.at("link");
        auto made = request.kind == "commit" ? links.commit(link, lun, progress)
                                             : links.save_disk(link, lun, progress);
        if (!made) return Failure(std::move(made).error().error);
        return fmt::format(R"({},"base":"{}","live":{})", version_member(made->info), made->base,
                           made->live);
    }
    if (request.kind == "verify") {
        GOLDLINK_TRY_ASSIGN(const auto findings,
                            store.verify(request.arguments.at("digest"), progress));
        return findings_member(findings);
    }
    if (request.kind == "prewarm") {
        GOLDLINK_TRY_ASSIGN(const std::uint64_t bytes,
                            traces.prewarm(request.arguments.at("digest"), progress));
        return fmt::format("\"prewarmed_bytes\":{}", bytes);
    }
    if (request.kind == "export") {
        GOLDLINK_TRY(store.export_version(request.arguments.at("digest"),
                                          request.arguments.at("path"),
                                          request.arguments.at("format"), progress));
        return std::string();
    }
    return failure(ErrorKind::invalid,
                   fmt::format("tasks of kind '{}' are unknown to this version", request.kind));
}

void add_store_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    routes.push_back(
        {"PUT", "/uploads/{name}", [&c](Request& r) { return put_upload(c, r); }, 0, true});
    routes.push_back(
        {"DELETE", "/uploads/{name}", [&c](Request& r) { return delete_upload(c, r); }});
    routes.push_back({"POST", "/imports", [&c](Request& r) { return post_import(c, r); }});
    routes.push_back({"GET", "/imports", [&c](Request&) { return get_tasks(c); }});
    routes.push_back({"GET", "/imports/{id}", [&c](Request& r) { return get_task(c, r); }});
    routes.push_back({"DELETE", "/imports/{id}", [&c](Request& r) { return delete_task(c, r); }});
    routes.push_back({"GET", "/versions", [&c](Request&) { return get_versions(c); }});
    routes.push_back({"GET", "/versions/{digest}", [&c](Request& r) { return get_version(c, r); }});
    routes.push_back(
        {"DELETE", "/versions/{digest}", [&c](Request& r) { return delete_version(c, r); }});
    routes.push_back({"POST", "/versions/{digest}/verify",
                      [&c](Request& r) { return post_version_task(c, r, "verify"); }});
    routes.push_back({"POST", "/versions/{digest}/prewarm",
                      [&c](Request& r) { return post_version_task(c, r, "prewarm"); }});
    routes.push_back({"POST", "/versions/{digest}/export",
                      [&c](Request& r) { return post_version_task(c, r, "export"); }});
}

}  // namespace goldlink::control
