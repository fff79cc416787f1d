// PUT /images/{image}/content: the body goes straight through to the target's spool, a buffer at a
// time; the registry notes the version and the task first, so that a cut upload leaves a trace.
#include "manager/api/upload.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/hex.hpp"
#include "common/http/client.hpp"
#include "common/log.hpp"
#include "manager/api/input.hpp"
#include "manager/api/upload_feed.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/task_end.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::int64_t kBlankUnitBytes = 4096;  // so that it can be served in blocks of 4 KiB
constexpr std::int64_t kMinBlankBytes = 1 << 20;
constexpr std::int64_t kMaxBlankBytes = std::int64_t{2} << 40;  // the target's

struct Upload {
    std::string image, format, note, filename;
    std::optional<std::string> channel;
    std::uint64_t length_bytes = 0;
};

Maybe<Upload> upload_of(const Call& call) {
    Upload upload;
    upload.image = call.param("image");
    if (!is_name(upload.image))
        return refuse_field(
            "image",
            "an image's name has letters, digits, '.', '_' and '-', starts with a letter or "
            "digit, and has at most 63 characters");
    upload.format = call.request.query_value("format");
    if (auto known = check_format(upload.format); !known) return Refused(std::move(known).error());
    GOLDLINK_TRY_CALL(upload.note, checked_note(call.request.query_value("note")));
    upload.filename = call.request.query_value("filename");
    if (upload.filename.size() > 255)
        return refuse_field("filename", "a file name may have 255 bytes");
    if (const std::string channel = call.request.query_value("channel"); !channel.empty()) {
        if (!is_channel_name(channel))
            return refuse_field("channel",
                                fmt::format("\"{}\" is no channel name", channel.substr(0, 64)));
        upload.channel = channel;
    }
    upload.length_bytes = call.request.body_reader->declared_length();
    if (call.request.header("content-length").empty())
        return refuse(411, "length-required", "The length of the upload is needed",
                      "send the file with a Content-Length header; a chunked body of unknown "
                      "length is not taken");
    if (upload.length_bytes == 0) return refuse_field("content-length", "the upload is empty");
    if (upload.length_bytes > kMaxUploadBytes)
        return refuse_field("content-length", "an upload may have 64 TiB");
    return upload;
}

// The version and the task that say an upload is coming.
Maybe<db::Task> begin(db::Connection& c, const Call& call, const Upload& upload) {
    GOLDLINK_TRY_CALL(
        const db::Version version,
        begin_version(c, upload.image, upload.format == "iso" ? "iso" : "disk", upload.note));
    db::NewTask task;
    task.id = random_uuid();
    task.kind = "import";
    task.subject = fmt::format("{}@{}", version.image, version.number);
    task.phase = "upload";
    task.total_bytes = static_cast<std::int64_t>(upload.length_bytes);
    task.version_id = version.id;
    task.channel = upload.channel;
    task.upload = "import-" + task.id;
    task.created_by = call.token.id;
    task.format = upload.format;
    GOLDLINK_TRY(db::insert_task(c, task));
    GOLDLINK_TRY_ASSIGN(auto made, db::find_task(c, task.id));
    return std::move(*made);
}

Answer give_up(Call& call, const db::Task& task, const UploadFeed& feed, const PeerError& error) {
    const bool cancelled = feed.broken() && feed.broken()->kind == ErrorKind::cancelled;
    const std::string why = feed.broken()
                                ? fmt::format("the upload was cut off: {}", feed.broken()->message)
                                : error.detail;
    end_upload(call, task, cancelled ? "cancelled" : "failed", why);
    log::warn("import {} of {} failed: {}", task.id, task.subject, why);
    if (cancelled) return refuse(409, "cancelled", "The import was cancelled", why);
    if (feed.broken()) return refuse(400, "upload-cut-off", "The upload was cut off", why);
    return refuse_peer(call.services.target, error);
}

}  // namespace

void end_upload(Call& call, const db::Task& task, const std::string& state,
                const std::string& why) {
    const auto noted = call.services.pool.transact(
        [&](db::Connection& c) { return end_task_without_result(c, task, state, why); });
    // A task left in phase upload is ended by the reconciler once its progress is stale.
    if (!noted)
        log::warn("task {}: its failure could not be noted: {}", task.id, noted.error().message);
    if (const auto dropped = call.services.target.call("DELETE", "/uploads/" + *task.upload);
        !dropped && dropped.error().status != 404)
        log::warn("upload {}: could not be dropped: {}", *task.upload, dropped.error().detail);
}

Answer stream_to_target(Call& call, const db::Task& task, const std::string& message) {
    Services& services = call.services;
    UploadFeed feed(call, task, message);
    const auto sent = services.target.put_stream(
        fmt::format("/uploads/{}?image=1&format={}&filename={}&repair={}", *task.upload,
                    http::percent_encode(task.format),
                    http::percent_encode(call.request.query_value("filename")),
                    task.kind == "repair" ? "1" : ""),
        feed);
    if (!sent) return give_up(call, task, feed, sent.error());
    return services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY(db::set_task_phase(c, task.id, "start", "queued",
                                        fmt::format("arrived; waits for its {}", task.kind)));
        GOLDLINK_TRY_ASSIGN(const auto now, db::find_task(c, task.id));
        if (!now) return refuse_missing(fmt::format("task {}", task.id));
        return json_response(202, view(*now));
    });
}

namespace {

Answer put_content(Call& call) {
    GOLDLINK_TRY_CALL(const Upload upload, upload_of(call));
    Services& services = call.services;
    if (const auto status = services.target_status.get(); !status)
        return refuse_peer(services.target, status.error());
    GOLDLINK_TRY_CALL(const db::Task task, services.pool.transact([&](db::Connection& c) {
        return begin(c, call, upload);
    }));

    return stream_to_target(
        call, task,
        upload.filename.empty() ? "uploading" : fmt::format("uploading {}", upload.filename));
}

// Nothing comes in: the target makes a version of zeroes.
Answer make_blank(Call& call) {
    GOLDLINK_TRY_CALL(const auto body, body_object(call, {"size_bytes", "note", "channel"}));
    const std::string& name = call.param("image");
    if (!is_name(name)) return refuse_field("image", "that is no name of an image");
    const auto size = json::int_field(body, "size_bytes", kMinBlankBytes, kMaxBlankBytes);
    if (!size) return refuse_field("size_bytes", size.error().message);
    if (*size % kBlankUnitBytes != 0)
        return refuse_field("size_bytes", fmt::format("a blank disk has whole blocks of {} bytes",
                                                      kBlankUnitBytes));
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    GOLDLINK_TRY_CALL(const auto channel, channel_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Version version,
                          begin_version(c, name, "disk", note.value_or("")));
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "import";
        task.subject = fmt::format("{}@{}", version.image, version.number);
        task.phase = "start";
        task.version_id = version.id;
        task.channel = channel;
        task.created_by = call.token.id;
        task.blank_bytes = *size;
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(202, view(*made));
    });
}

}  // namespace

Maybe<void> check_format(std::string_view format) {
    constexpr std::string_view kFormats[] = {"", "raw", "iso", "vhd", "vhdx", "vmdk", "qcow2"};
    if (std::find(std::begin(kFormats), std::end(kFormats), format) != std::end(kFormats))
        return {};
    return refuse_field(
        "format",
        fmt::format("\"{}\" is no format: it is raw, iso, vhd, vhdx, vmdk or qcow2; leave it "
                    "out to have it detected",
                    format.substr(0, 40)));
}

Maybe<db::Version> begin_version(db::Connection& c, const std::string& name,
                                 const std::string& kind, const std::string& note) {
    GOLDLINK_TRY(db::insert_image(c, name, ""));
    GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, name));
    if (!image) return refuse_missing(fmt::format("image {}; it was deleted meanwhile", name));
    GOLDLINK_TRY_ASSIGN(const bool taken, db::take_kind(c, image->id, kind));
    if (!taken)
        return refuse(409, "other-kind", "The image is of another kind",
                      fmt::format("image {} has versions of kind {}; import this one, of kind {}, "
                                  "under another name",
                                  image->name, image->kind, kind));
    GOLDLINK_TRY_ASSIGN(auto version, db::insert_version(c, image->id, note));
    return version;
}

void add_upload_routes(Table& table) {
    table.push_back({"POST", "/images/{image}/blank", kWrite, {}, make_blank});
    table.push_back({"PUT",
                     "/images/{image}/content",
                     kWrite,
                     {"format", "note", "filename", "channel"},
                     put_content,
                     true});
}

}  // namespace goldlink::manager::api
