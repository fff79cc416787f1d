// Uploads, imports and the other tasks, versions.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "common/digest.hpp"
#include "common/json.hpp"
#include "target/control/control_context.hpp"
#include "target/control/import_files.hpp"
#include "target/control/transfers.hpp"

namespace goldlink::control {
namespace {

http::Response put_upload(ControlContext& context, http::Request& request) {
    // Not first sent and then refused.
    if (const auto usable = context.store.list(); !usable) return http::problem(usable.error());
    const std::string& name = request.params.at("name");
    const auto received = context.uploads.receive(
        name, *request.body_reader,
        expected_image(request, request.query_value("filename"), context.arrivals,
                       Arrivals::key_of(name), request.body_reader->declared_length()));
    if (!received) {
        context.arrivals.drop(name);  // nothing of it is left
        return http::problem(received.error());
    }
    return respond_json(200, json::object{{"bytes", *received}});
}

http::Response delete_upload(ControlContext& context, const http::Request& request) {
    const std::string& name = request.params.at("name");
    context.arrivals.drop(name);
    const auto removed = context.uploads.remove(name);
    if (!removed) return http::problem(removed.error());
    return respond_text(204, "");
}

// Of an upload set: the file to import, the others being what it may refer to, and what the files
// must hash to.
Result<> parse_set(const json::object& body, TaskRequest& task) {
    GOLDLINK_TRY_ASSIGN(const auto file, json::optional_string(body, "file", 255));
    if (!file) return {};
    task.arguments["file"] = *file;
    if (!body.contains("sha256")) return {};
    GOLDLINK_TRY_ASSIGN(const json::object digests, json::object_field(body, "sha256"));
    if (digests.size() > UploadSpool::kMaxSetFiles)
        return failure(ErrorKind::invalid, "field 'sha256' names too many files");
    for (const auto& [name, value] : digests) {
        GOLDLINK_TRY_ASSIGN(const auto hex, json::string_field(digests, name, 64, 64));
        GOLDLINK_TRY(parse_digest(hex));
        task.arguments["sha256:" + std::string(name)] = hex;
    }
    return {};
}

// Files of a server path that it may refer to, beside those in its folder.
Result<> parse_parents(const json::object& body, TaskRequest& task) {
    if (!body.contains("parents")) return {};
    GOLDLINK_TRY_ASSIGN(const json::array parents, json::array_field(body, "parents", kMaxParents));
    for (std::size_t i = 0; i < parents.size(); ++i) {
        const auto* path = parents[i].if_string();
        if (path == nullptr || path->size() > 4096 || !path->starts_with('/'))
            return failure(ErrorKind::invalid, "field 'parents' must name absolute paths");
        task.arguments[fmt::format("parent:{:02}", i)] = std::string(*path);
    }
    return {};
}

Result<TaskRequest> parse_import(const http::Request& request) {
    GOLDLINK_TRY_ASSIGN(const json::object body, body_object(request));
    GOLDLINK_TRY(json::only_fields(body, {"id", "upload", "file", "sha256", "path", "server_path",
                                          "parents", "format", "blank_bytes"}));
    TaskRequest task;
    task.kind = "import";
    GOLDLINK_TRY_ASSIGN(task.id, json::string_field(body, "id", 1, 64));
    GOLDLINK_TRY_ASSIGN(const auto upload, json::optional_string(body, "upload", 128));
    GOLDLINK_TRY_ASSIGN(const auto path, json::optional_string(body, "path", 4096));
    GOLDLINK_TRY_ASSIGN(const auto server_path, json::optional_string(body, "server_path", 4096));
    GOLDLINK_TRY_ASSIGN(const auto format, json::optional_string(body, "format", 16));
    GOLDLINK_TRY_ASSIGN(const auto blank, json::optional_int(body, "blank_bytes", 1, INT64_MAX));
    if (int{upload.has_value()} + int{path.has_value()} + int{server_path.has_value()} +
            int{blank.has_value()} !=
        1)
        return failure(
            ErrorKind::invalid,
            "exactly one of 'upload', 'path', 'server_path' and 'blank_bytes' must be given");
    if (blank) {
        if (format) return failure(ErrorKind::invalid, "a blank disk has no field 'format'");
        task.arguments["blank_bytes"] = std::to_string(*blank);
        return task;
    }
    if (upload) {
        task.arguments["upload"] = *upload;
        GOLDLINK_TRY(parse_set(body, task));
    } else {
        const std::string_view field = path ? "path" : "server_path";
        const std::string& given = path ? *path : *server_path;
        if (!given.starts_with("/"))
            return failure(ErrorKind::invalid, fmt::format("field '{}' must be absolute", field));
        task.arguments[std::string(field)] = given;
        if (server_path) GOLDLINK_TRY(parse_parents(body, task));
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
        if (task->arguments.contains("upload") || task->arguments.contains("server_path")) {
            const TransferFolders folders{context.uploads, context.exports, context.server_paths,
                                          context.arrivals};
            if (auto found = import_request(*task, folders); !found)
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
    o["bad_bytes"] = info.bad_bytes;
    o["damage"] = damage_json(info.damage);
    o["verified_at"] = nullptr;
    if (info.verified_at != 0)
        o["verified_at"] =
            fmt::format("{:%FT%TZ}", fmt::gmtime(static_cast<std::time_t>(info.verified_at)));
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
    o["pin"] = nullptr;
    if (const auto pin = context.pins.info(info.digest)) {
        json::object shown{{"wanted_bytes", pin->wanted_bytes},
                           {"pinned_bytes", pin->pinned_bytes},
                           {"problem", nullptr}};
        if (!pin->problem.empty()) shown["problem"] = pin->problem;
        o["pin"] = std::move(shown);
    }
    return o;
}

http::Response put_pins(ControlContext& context, const http::Request& request) {
    const auto body = body_object(request);
    if (!body) return http::problem(body.error());
    auto digests = parse_pins(*body);
    if (!digests) return http::problem(digests.error());
    if (auto set = context.pins.set(std::move(*digests)); !set) return http::problem(set.error());
    return respond_text(204, "");
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
    if (context.links.needs_version(digest)) {
        Error error{ErrorKind::conflict,
                    fmt::format("version {} is what a disk in the trash lies over; 'goldlink trash "
                                "ls' shows it, 'goldlink trash empty' lets it go",
                                digest),
                    0};
        return respond(OperationError{std::move(error), "version-in-use", {}});
    }
    context.transfers.make_room();
    const std::string mark = request.query_value("mark");
    const auto removed =
        mark.empty() ? context.store.remove(digest) : context.garbage.remove_version(digest, mark);
    if (removed && mark.empty()) context.links.version_removed(digest);
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
        if (kind == "grow") {
            GOLDLINK_TRY(json::only_fields(body, {"id", "size_bytes"}));
            GOLDLINK_TRY_ASSIGN(const auto size, json::int_field(body, "size_bytes", 1, INT64_MAX));
            task.arguments["size_bytes"] = std::to_string(size);
            return task;
        }
        GOLDLINK_TRY(json::only_fields(body, {"id", "path", "format"}));
        GOLDLINK_TRY_ASSIGN(const auto path, json::optional_string(body, "path", 4096));
        if (path && !path->starts_with("/"))
            return failure(ErrorKind::invalid, "field 'path' must be absolute");
        if (path) task.arguments["path"] = *path;
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
                               LinkTable& links, store::ImageStore& store,
                               const TransferFolders& folders) {
    if (const auto blank = request.arguments.find("blank_bytes");
        blank != request.arguments.end()) {
        GOLDLINK_TRY_ASSIGN(const auto size, parse_number<std::uint64_t>(blank->second));
        GOLDLINK_TRY_ASSIGN(const store::VersionInfo made, store.make_blank(size));
        links.retry_problems();
        return version_member(made);
    }
    GOLDLINK_TRY_ASSIGN(store::ImportRequest import, import_request(request, folders));
    const auto arriving = take_arriving(request, folders.arrivals);
    import.arriving = arriving.get();
    GOLDLINK_TRY(check_digests(request, folders.uploads, arriving.get(), progress));
    GOLDLINK_TRY_ASSIGN(const store::VersionInfo info, store.import(import, progress));
    // Cancelled or failed, the file stays for another try; imported, it is only in the way.
    if (const auto upload = request.arguments.find("upload"); upload != request.arguments.end())
        (void)folders.uploads.remove(upload->second);
    links.retry_problems();
    return version_member(info);
}

Result<std::string> run_export(const TaskRequest& request, store::Progress& progress,
                               store::ImageStore& store, const TransferFolders& folders) {
    const std::string& digest = request.arguments.at("digest");
    const std::string& format = request.arguments.at("format");
    if (const auto path = request.arguments.find("path"); path != request.arguments.end()) {
        GOLDLINK_TRY(store.export_version(digest, path->second, format, progress));
        return std::string();
    }
    GOLDLINK_TRY_ASSIGN(const auto file, folders.exports.begin(request.id));
    GOLDLINK_TRY_ASSIGN(const Digest sha256, store.export_version(digest, file, format, progress));
    std::error_code error;
    const auto bytes = std::filesystem::file_size(file, error);
    if (error) return system_failure("cannot examine the exported file", error.value());
    return "\"export\":" + json::serialize(json::object{
                               {"bytes", bytes}, {"format", format}, {"sha256", to_hex(sha256)}});
}

// The disk a commit or save is of; nullopt when its caller left that to the link.
Result<std::optional<std::uint16_t>> named_lun(const TaskRequest& request) {
    const auto named = request.arguments.find("lun");
    if (named == request.arguments.end()) return std::optional<std::uint16_t>();
    GOLDLINK_TRY_ASSIGN(const auto lun, parse_number<std::uint16_t>(named->second));
    return std::optional(lun);
}

Result<std::string> run_rebase(const TaskRequest& request, store::Progress& progress,
                               LinkTable& links) {
    GOLDLINK_TRY_ASSIGN(const auto lun, named_lun(request));
    LinkTable::RebaseRequest wanted;
    wanted.lun = lun.value_or(0);
    wanted.from = request.arguments.at("from");
    wanted.to = request.arguments.at("to");
    wanted.keep_written = request.arguments.at("take") == "written";
    wanted.force = request.arguments.contains("force");
    auto done = links.rebase(request.arguments.at("link"), wanted, progress);
    if (!done) return Failure(std::move(done).error().error);
    json::object said{{"from", done->from},
                      {"version", done->to},
                      {"take", request.arguments.at("take")},
                      {"already", !done->overlap.has_value()}};
    const store::Overlap overlap = done->overlap.value_or(store::Overlap{});
    said["mine_bytes"] = overlap.mine_bytes;
    said["theirs_bytes"] = overlap.theirs_bytes;
    said["both_bytes"] = overlap.both_bytes;
    return "\"rebase\":" + json::serialize(said);
}

json::array ranges_json(const std::vector<disk::OverlaySalvage::Range>& ranges) {
    json::array array;
    for (const auto& each : ranges)
        array.push_back(
            json::object{{"offset_bytes", each.offset_bytes}, {"length_bytes", each.length_bytes}});
    return array;
}

Result<std::string> run_check(const TaskRequest& request, store::Progress& progress,
                              LinkTable& links) {
    GOLDLINK_TRY_ASSIGN(const auto lun, named_lun(request));
    auto found = links.verify(request.arguments.at("link"), lun, progress);
    if (!found) return Failure(std::move(found).error().error);
    return "\"check\":" + json::serialize(json::object{{"lun", found->lun},
                                                       {"checked_bytes", found->checked_bytes},
                                                       {"bad_bytes", found->bad_bytes},
                                                       {"bad", ranges_json(found->bad)}});
}

Result<std::string> run_salvage(const TaskRequest& request, store::Progress& progress,
                                LinkTable& links) {
    GOLDLINK_TRY_ASSIGN(const auto lun, named_lun(request));
    auto made = links.salvage(request.arguments.at("link"), lun, progress);
    if (!made) return Failure(std::move(made).error().error);
    const disk::OverlaySalvage::Report& report = made->report;
    const json::object said{{"lun", made->lun},
                            {"bad_records", report.bad_records},
                            {"lost_bytes", report.lost_bytes},
                            {"lost", ranges_json(report.lost)},
                            {"doubtful_bytes", report.doubtful_bytes},
                            {"doubtful", ranges_json(report.doubtful)}};
    return fmt::format(R"({},"base":"{}","live":false,"salvage":{})",
                       version_member(made->version.info), made->version.base,
                       json::serialize(said));
}

}  // namespace

Result<std::string> run_task(const TaskRequest& request, store::Progress& progress,
                             LinkTable& links, store::ImageStore& store,
                             const TransferFolders& folders, BootTraces& traces) {
    if (request.kind == "import") return run_import(request, progress, links, store, folders);
    if (request.kind == "commit" || request.kind == "save") {
        GOLDLINK_TRY_ASSIGN(const auto lun, named_lun(request));
        const std::string& link = request.arguments.at("link");
        auto made = request.kind == "commit" ? links.commit(link, lun, progress)
                                             : links.save_disk(link, lun, progress);
        if (!made) return Failure(std::move(made).error().error);
        return fmt::format(R"({},"base":"{}","live":{})", version_member(made->info), made->base,
                           made->live);
    }
    if (request.kind == "rebase") return run_rebase(request, progress, links);
    if (request.kind == "check") return run_check(request, progress, links);
    if (request.kind == "salvage") return run_salvage(request, progress, links);
    if (request.kind == "grow") {
        GOLDLINK_TRY_ASSIGN(const auto size,
                            parse_number<std::uint64_t>(request.arguments.at("size_bytes")));
        GOLDLINK_TRY_ASSIGN(const store::VersionInfo grown,
                            store.grow(request.arguments.at("digest"), size));
        return version_member(grown);
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
    if (request.kind == "repair") return run_repair(request, progress, links, store, folders);
    if (request.kind == "export") {
        return run_export(request, progress, store, folders);
    }
    return failure(ErrorKind::invalid,
                   fmt::format("tasks of kind '{}' are unknown to this version", request.kind));
}

void add_store_routes(std::vector<http::Route>& routes, ControlContext& c) {
    using http::Request;
    add_transfer_routes(routes, c);
    routes.push_back(
        {"PUT", "/uploads/{name}", [&c](Request& r) { return put_upload(c, r); }, 0, true});
    routes.push_back(
        {"DELETE", "/uploads/{name}", [&c](Request& r) { return delete_upload(c, r); }});
    routes.push_back({"POST", "/imports", [&c](Request& r) { return post_import(c, r); }});
    routes.push_back({"GET", "/imports", [&c](Request&) { return get_tasks(c); }});
    routes.push_back({"GET", "/imports/{id}", [&c](Request& r) { return get_task(c, r); }});
    routes.push_back({"DELETE", "/imports/{id}", [&c](Request& r) { return delete_task(c, r); }});
    routes.push_back({"PUT", "/pins", [&c](Request& r) { return put_pins(c, r); }});
    routes.push_back({"GET", "/versions", [&c](Request&) { return get_versions(c); }});
    routes.push_back({"GET", "/versions/{digest}", [&c](Request& r) { return get_version(c, r); }});
    routes.push_back(
        {"DELETE", "/versions/{digest}", [&c](Request& r) { return delete_version(c, r); }});
    routes.push_back({"POST", "/versions/{digest}/verify",
                      [&c](Request& r) { return post_version_task(c, r, "verify"); }});
    routes.push_back({"POST", "/versions/{digest}/prewarm",
                      [&c](Request& r) { return post_version_task(c, r, "prewarm"); }});
    routes.push_back({"POST", "/versions/{digest}/grow",
                      [&c](Request& r) { return post_version_task(c, r, "grow"); }});
    routes.push_back({"POST", "/versions/{digest}/export",
                      [&c](Request& r) { return post_version_task(c, r, "export"); }});
}

}  // namespace goldlink::control
