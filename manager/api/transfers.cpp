// Versions by their chunks, between servers and to and from files of the command line's machine.
// Going out: a version's manifest and its chunks. Coming in: a transfer, an import's or a repair's
// task in phase `upload`, which is asked what is missing, gets that, and becomes the version, or is
// done, when the manifest comes. Bodies are octets (common/chunk_frame.hpp).
#include <fmt/format.h>

#include <algorithm>

#include "common/chunk_frame.hpp"
#include "common/hex.hpp"
#include "manager/api/input.hpp"
#include "manager/api/upload.hpp"
#include "manager/api/views.hpp"
#include "manager/db/history.hpp"
#include "manager/db/images.hpp"
#include "manager/task_end.hpp"

namespace goldlink::manager::api {
namespace {

constexpr std::chrono::seconds kTargetTimeout{60};
constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{9} << 30;  // of a disk of 16 TiB

http::Response octets(std::string body) {
    http::Response response;
    response.content_type = "application/octet-stream";
    response.body = std::move(body);
    return response;
}

// The digest of a version that is ready.
Maybe<std::string> needed_digest(Call& call) {
    GOLDLINK_TRY_CALL(const std::int64_t number, version_param(call));
    return call.services.pool.run([&](db::Connection& c) -> Maybe<std::string> {
        const std::string& name = call.param("image");
        GOLDLINK_TRY_ASSIGN(const auto image, db::find_image(c, name));
        if (!image) return refuse_missing(fmt::format("image {}", name.substr(0, 64)));
        GOLDLINK_TRY_ASSIGN(const auto version, db::find_version(c, image->id, number));
        if (!version) return refuse_missing(fmt::format("version {}@{}", image->name, number));
        if (version->state != "ready" || !version->digest)
            return refuse(409, "version-not-ready", "The version is not ready",
                          fmt::format("{}@{} is {}", image->name, number, version->state));
        return *version->digest;
    });
}

Answer get_manifest(Call& call) {
    GOLDLINK_TRY_CALL(const std::string digest, needed_digest(call));
    const Peer& target = call.services.target;
    const std::string path = "/versions/" + digest + "/manifest";
    if (const auto there = target.call("HEAD", path); !there)
        return refuse_peer(target, there.error());
    http::Response response;
    response.content_type = "application/octet-stream";
    // Cut short, it does not hash to the version's digest.
    response.stream = [&target, path](http::BodyWriter& writer) {
        (void)target.get_stream(path, 0, writer);
    };
    return response;
}

// "zstd", in a frame, or "identity", as they are.
Maybe<bool> wants_plain(Call& call) {
    const std::string encoding = call.request.query_value("encoding");
    if (encoding == "identity") return true;
    if (encoding.empty() || encoding == "zstd") return false;
    return refuse_field("encoding", "chunks are sent as zstd or identity");
}

Answer get_chunks(Call& call) {
    GOLDLINK_TRY_CALL(const bool plain, wants_plain(call));
    GOLDLINK_TRY_CALL(const std::string digest, needed_digest(call));
    const Peer& target = call.services.target;
    const std::string path = "/versions/" + digest + "/chunks";
    if (!plain) {
        const auto frame = target.call("POST", path, call.request.body, kTargetTimeout);
        if (!frame) return refuse_peer(target, frame.error());
        return octets(*frame);
    }
    const std::size_t count = call.request.body.size() / kDigestBytes;
    if (call.request.body.size() % kDigestBytes != 0 || count == 0 || count > kMaxPlainChunks)
        return refuse(400, "invalid", "These are no chunks",
                      fmt::format("the body is 1 to {} digests of 32 bytes", kMaxPlainChunks));
    http::Response response;
    response.content_type = "application/octet-stream";
    response.stream_bytes = count * kFrameChunkBytes;
    response.stream = [&target, path, asked = call.request.body](http::BodyWriter& writer) {
        (void)target.post_stream(path + "?encoding=identity", asked, writer);
    };
    return response;
}

bool is_digest(std::string_view text) {
    return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           });
}

Answer begin(Call& call) {
    GOLDLINK_TRY_CALL(const auto body,
                      body_object(call, {"digest", "size_bytes", "kind", "note", "channel"}));
    const std::string& name = call.param("image");
    if (!is_name(name)) return refuse_field("image", "that is no name of an image");
    const auto digest = json::optional_string(body, "digest", 64);
    if (!digest || (*digest && !is_digest(**digest)))
        return refuse_field("digest", "it is the version's digest, 64 lower-case hex digits");
    const auto size = json::int_field(body, "size_bytes", 1, INT64_MAX);
    if (!size) return refuse_field("size_bytes", size.error().message);
    const auto kind = json::optional_string(body, "kind", 8);
    if (!kind || (*kind && **kind != "disk" && **kind != "iso"))
        return refuse_field("kind", "kind is disk or iso");
    GOLDLINK_TRY_CALL(const auto note, note_field(body));
    GOLDLINK_TRY_CALL(const auto channel, channel_field(body));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY_CALL(const db::Version version,
                          begin_version(c, name, kind->value_or("disk"), note.value_or("")));
        db::NewTask task;
        task.id = random_uuid();
        task.kind = "import";
        task.subject = fmt::format("{}@{}", version.image, version.number);
        task.phase = "upload";
        task.total_bytes = *size;
        task.version_id = version.id;
        task.channel = channel;
        task.upload = "transfer-" + task.id;
        task.digest = *digest;
        task.created_by = call.token.id;
        task.source = "{\"transfer\": true}";
        GOLDLINK_TRY(db::insert_task(c, task));
        GOLDLINK_TRY_ASSIGN(const auto made, db::find_task(c, task.id));
        return json_response(201, view(*made));
    });
}

Maybe<db::Task> needed_transfer(Call& call) {
    GOLDLINK_TRY_CALL(const std::string id, uuid_param(call, "transfer_id", "transfer"));
    GOLDLINK_TRY_ASSIGN(
        auto task, call.services.pool.run([&](db::Connection& c) { return db::find_task(c, id); }));
    if (!task || !task->upload || !task->upload->starts_with("transfer-"))
        return refuse_missing(fmt::format("transfer {}", id));
    if (task->cancel_requested || task->phase != "upload")
        return refuse(409, "transfer-ended", "The transfer has ended",
                      fmt::format("{} is {}; nothing more is taken for it", task->subject,
                                  task->cancel_requested ? "cancelled" : task->state));
    return std::move(*task);
}

// Also says that somebody is still at it.
Result<> note_progress(Call& call, const db::Task& task, std::int64_t more_bytes) {
    return call.services.pool.run([&](db::Connection& c) {
        return db::set_task_progress(c, task.id,
                                     std::min(task.done_bytes + more_bytes, task.total_bytes),
                                     task.total_bytes, "receiving what is missing");
    });
}

Answer missing(Call& call) {
    GOLDLINK_TRY_CALL(const db::Task task, needed_transfer(call));
    const auto answer = call.services.target.call("POST", "/transfers/" + task.id + "/missing",
                                                  call.request.body, kTargetTimeout);
    if (!answer) return refuse_peer(call.services.target, answer.error());
    const auto there = std::count(answer->begin(), answer->end(), '\0');
    GOLDLINK_TRY(note_progress(call, task, there * static_cast<std::int64_t>(kFrameChunkBytes)));
    return octets(*answer);
}

Answer put_chunks(Call& call) {
    if (call.request.header("content-length").empty())
        return refuse(411, "length-required", "The length of the chunks is needed",
                      "send them with a Content-Length header");
    GOLDLINK_TRY_CALL(const bool plain, wants_plain(call));
    const std::size_t at_most = plain ? kMaxPlainChunks * kFrameChunkBytes : kMaxFrameBytes;
    if (call.request.body_reader->declared_length() > at_most)
        return refuse(413, "body-too-large", "Too many chunks at once",
                      fmt::format("the chunks of one request may have {} bytes", at_most));
    GOLDLINK_TRY_CALL(const db::Task task, needed_transfer(call));
    const auto stored = call.services.target.put_stream(
        fmt::format("/transfers/{}/chunks{}", task.id, plain ? "?encoding=identity" : ""),
        *call.request.body_reader);
    if (!stored) return refuse_peer(call.services.target, stored.error());
    GOLDLINK_TRY_ASSIGN(const auto object, json::parse_object(*stored));
    GOLDLINK_TRY_ASSIGN(const auto bytes, json::int_field(object, "bytes", 0, INT64_MAX));
    GOLDLINK_TRY(note_progress(call, task, bytes));
    return json_response(200, object);
}

// What the manifest must hash to: the transfer's digest, or of one that began without, the digest
// that its sender found when all was read. From here on no clean-up takes it for unwanted.
Maybe<std::string> expected_digest(Call& call, const db::Task& task) {
    const std::string given = call.request.query_value("digest");
    if (!given.empty() && !is_digest(given))
        return refuse_field("digest", "it is the version's digest, 64 lower-case hex digits");
    if (!task.digest && given.empty())
        return refuse_field("digest", "the transfer began without it: send it with the manifest");
    if (task.digest && !given.empty() && given != *task.digest)
        return refuse(409, "other-digest", "That is another version",
                      fmt::format("the transfer began for version {}", *task.digest));
    if (task.digest) return *task.digest;
    GOLDLINK_TRY(call.services.pool.run(
        [&](db::Connection& c) { return db::set_task_digest(c, task.id, given); }));
    return given;
}

Result<> end_with_version(db::Connection& c, const db::Task& task, const std::string& digest,
                          const json::object& said) {
    MadeVersion made;
    made.digest = digest;
    GOLDLINK_TRY_ASSIGN(made.size_bytes, json::int_field(said, "size_bytes", 0, INT64_MAX));
    GOLDLINK_TRY_ASSIGN(made.stored_bytes, json::int_field(said, "stored_bytes", 0, INT64_MAX));
    return end_task_with_version(c, task, made);
}

Answer put_manifest(Call& call) {
    if (call.request.header("content-length").empty())
        return refuse(411, "length-required", "The length of the manifest is needed",
                      "send it with a Content-Length header");
    const std::uint64_t length = call.request.body_reader->declared_length();
    if (length == 0 || length > kMaxManifestBytes)
        return refuse_field("content-length", "that is no manifest's length");
    GOLDLINK_TRY_CALL(const db::Task task, needed_transfer(call));
    GOLDLINK_TRY_CALL(const std::string digest, expected_digest(call, task));
    const Peer& target = call.services.target;
    const auto sent = target.put_stream("/uploads/" + *task.upload, *call.request.body_reader);
    if (!sent) return refuse_peer(target, sent.error());
    const bool repair = task.kind == "repair";
    json::object finish{{"upload", *task.upload}, {"digest", digest}};
    if (repair) finish["repair"] = true;
    const auto finished = target.call("POST", "/transfers/" + task.id + "/finish",
                                      json::serialize(finish), kTargetTimeout);
    if (!finished) return refuse_peer(target, finished.error());
    GOLDLINK_TRY_ASSIGN(const auto said, json::parse_object(*finished));
    return call.services.pool.transact([&](db::Connection& c) -> Answer {
        GOLDLINK_TRY(db::set_task_progress(c, task.id, task.total_bytes, task.total_bytes, ""));
        GOLDLINK_TRY(repair ? end_task_with_repair(c, task, *finished)
                            : end_with_version(c, task, digest, said));
        GOLDLINK_TRY_ASSIGN(const auto now, db::find_task(c, task.id));
        if (!now) return refuse_missing(fmt::format("task {}", task.id));
        return json_response(200, view(*now));
    });
}

}  // namespace

void add_transfer_routes(Table& table) {
    table.push_back(
        {"GET", "/images/{image}/versions/{number}/manifest", kWrite, {}, get_manifest});
    table.push_back(
        {"POST", "/images/{image}/versions/{number}/chunks", kWrite, {"encoding"}, get_chunks});
    table.push_back({"POST", "/images/{image}/transfers", kWrite, {}, begin});
    table.push_back({"POST", "/transfers/{transfer_id}/missing", kWrite, {}, missing});
    table.push_back(
        {"PUT", "/transfers/{transfer_id}/chunks", kWrite, {"encoding"}, put_chunks, true});
    table.push_back(
        {"PUT", "/transfers/{transfer_id}/manifest", kWrite, {"digest"}, put_manifest, true});
}

}  // namespace goldlink::manager::api
