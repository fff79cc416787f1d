// /images/{image}/versions/{number}/repair: PUT, a disk image that has what the version has lost;
// POST, the chunks themselves, as another server has them.
#include <fmt/format.h>

#include <algorithm>

#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/upload.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::uint64_t kMaxRepairBytes = std::uint64_t{64} << 40;

// A task of phase `upload`: what mends the version comes under the task's id with this prefix.
Maybe<db::Task> begin_repair(db::Connection& c, const Call& call, std::string_view prefix,
                             db::NewTask task) {
    GOLDLINK_TRY_CALL(const std::int64_t number, version_param(call));
    const std::string& name = call.param("image");
    GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, name));
    if (!image) return refuse_missing(fmt::format("image {}", name.substr(0, 64)));
    GOLDLINK_TRY_ASSIGN(const auto version, db::find_version(c, image->id, number));
    if (!version) return refuse_missing(fmt::format("version {}@{}", image->name, number));
    if (version->state != "ready")
        return refuse(409, "version-not-ready", "The version is not ready",
                      fmt::format("{}@{} is {}: there is nothing of it to repair", image->name,
                                  number, version->state));
    task.id = random_uuid();
    task.kind = "repair";
    task.subject = fmt::format("{}@{}", image->name, number);
    task.phase = "upload";
    if (task.total_bytes == 0) task.total_bytes = version->size_bytes;
    task.version_id = version->id;
    task.digest = version->digest;
    task.upload = fmt::format("{}-{}", prefix, task.id);
    task.created_by = call.token.id;
    GOLDLINK_TRY(db::insert_task(c, task));
    GOLDLINK_TRY_ASSIGN(auto made, db::find_task(c, task.id));
    return std::move(*made);
}

// The chunks come as those of a transfer do (transfers.cpp), and its manifest ends it.
Answer post_repair(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {}, true));
    static_cast<void>(body);
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        db::NewTask wanted;
        wanted.source = "{\"transfer\": true}";
        GOLDLINK_TRY_CALL(const db::Task task, begin_repair(c, call, "transfer", wanted));
        return json_response(201, view(task));
    });
}

Answer put_repair(Call& call) {
    const std::string format = call.request.query_value("format");
    constexpr std::string_view kFormats[] = {"", "raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"};
    if (std::find(std::begin(kFormats), std::end(kFormats), format) == std::end(kFormats))
        return refuse_field("format", fmt::format("\"{}\" is no format: it is raw, iso, vhd, vhdx, "
                                                  "vmdk or qcow2",
                                                  format.substr(0, 40)));
    if (call.request.header("content-length").empty())
        return refuse(411, "length-required", "The length of the upload is needed",
                      "send the file with a Content-Length header");
    const std::uint64_t length = call.request.body_reader->declared_length();
    if (length == 0) return refuse_field("content-length", "the upload is empty");
    if (length > kMaxRepairBytes) return refuse_field("content-length", "at most 64 TiB");
    if (const auto status = call.services.target_status.get(); !status)
        return refuse_peer(call.services.target, status.error());
    GOLDLINK_TRY_CALL(const db::Task task, call.services.pool.transact([&](db::Connection& c) {
        db::NewTask wanted;
        wanted.total_bytes = static_cast<std::int64_t>(length);
        wanted.format = format;
        return begin_repair(c, call, "repair", wanted);
    }));
    return stream_to_target(call, task, "uploading");
}

}  // namespace

void add_repair_routes(Table& table) {
    table.push_back({"PUT",
                     "/images/{image}/versions/{number}/repair",
                     kWrite,
                     {"format", "filename"},
                     put_repair,
                     true});
    table.push_back({"POST", "/images/{image}/versions/{number}/repair", kWrite, {}, post_repair});
}

}  // namespace goldlink::manager::api
