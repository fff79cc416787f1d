// Versions as disk image files: written by the target, then fetched, from any byte on.
#include <fmt/format.h>

#include <algorithm>

#include "common/digest.hpp"
#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::string_view kFormats[] = {"raw", "raw.zst", "vhd", "vhdx", "vmdk", "qcow2"};

Answer start(Call& call) {
    GOLDLINK_TRY_CALL(const std::int64_t number, version_param(call));
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"format"}, true));
    const auto format = json::optional_string(body, "format", 40);
    if (!format) return refuse_field("format", format.error().message);
    const std::string wanted = format->value_or("raw");
    if (std::find(std::begin(kFormats), std::end(kFormats), wanted) == std::end(kFormats))
        return refuse_field("format", fmt::format("\"{}\" is no format to export: it is {}", wanted,
                                                  fmt::join(kFormats, ", ")));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, call.param("image")));
        if (!image)
            return refuse_missing(fmt::format("image {}", call.param("image").substr(0, 64)));
        GOLDLINK_TRY_ASSIGN(const auto version, db::find_version(c, image->id, number));
        if (!version) return refuse_missing(fmt::format("version {}@{}", image->name, number));
        if (version->state != "ready")
            return refuse(409, "version-not-ready", "The version is not ready",
                          fmt::format("{}@{} is {}", image->name, number, version->state));
        if (image->kind == "iso" && !wanted.starts_with("raw"))
            return refuse_field("format", "a disc is exported as raw: its bytes as they are");
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "export";
        task.subject = fmt::format("{}@{}", image->name, number);
        task.phase = "start";
        task.total_bytes = version->size_bytes;
        task.version_id = version->id;
        task.digest = version->digest;
        task.created_by = call.token.id;
        task.format = wanted;
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

Maybe<db::Task> needed_export(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "task_id", "task"));
    GOLDLINK_TRY_ASSIGN(
        auto task, call.services.pool.run([&](db::Connection& c) { return db::find_task(c, id); }));
    if (!task || task->kind != "export") return refuse_missing(fmt::format("export {}", id));
    if (task->state != "done")
        return refuse(409, "export-not-ready", "The export is not ready",
                      fmt::format("it is {}; wait until its task is done", task->state));
    return std::move(*task);
}

// RFC 9530 section 3, of the whole file whatever part of it is asked for; "" when the target that
// wrote it gave no SHA-256.
std::string repr_digest(const db::Task& task) {
    const auto result = json::parse_object(task.result.value_or(""));
    if (!result) return {};
    const auto hex = json::string_field(*result, "sha256", 64, 64);
    if (!hex) return {};
    const auto digest = parse_digest(*hex);
    return digest ? fmt::format("sha-256=:{}:", to_base64(*digest)) : std::string();
}

Answer content(Call& call) {
    GOLDLINK_TRY_CALL(const db::Task task, needed_export(call));
    GOLDLINK_TRY_CALL(const auto asked, number_query(call, "offset"));
    const auto offset = static_cast<std::uint64_t>(asked.value_or(0));  // the byte to begin with
    const Peer& target = call.services.target;
    const std::string path = "/exports/" + task.id;
    if (const auto there = target.call("HEAD", path); !there) {
        if (there.error().status == 404)
            return refuse(404, "export-gone", "The exported file is gone",
                          "it is kept for a day; export the version again");
        return refuse_peer(target, there.error());
    }
    http::Response response;
    response.content_type = "application/octet-stream";
    if (const std::string digest = repr_digest(task); !digest.empty())
        response.headers.emplace_back("Repr-Digest", digest);
    response.stream = [&target, path, offset](http::BodyWriter& writer) {
        (void)target.get_stream(path, offset, writer);
    };
    return response;
}

Answer drop(Call& call) {
    GOLDLINK_TRY_CALL(const db::Task task, needed_export(call));
    if (const auto dropped = call.services.target.call("DELETE", "/exports/" + task.id); !dropped)
        return refuse_peer(call.services.target, dropped.error());
    return no_content();
}

}  // namespace

void add_export_routes(Table& table) {
    table.push_back({"POST", "/images/{image}/versions/{number}/export", kWrite, {}, start});
    table.push_back({"GET", "/tasks/{task_id}/content", kWrite, {"offset"}, content});
    table.push_back({"DELETE", "/tasks/{task_id}/content", kWrite, {}, drop});
}

}  // namespace goldlink::manager::api
